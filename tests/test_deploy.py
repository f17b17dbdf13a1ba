"""Files for those who run a server: what can be checked of them without a Docker engine, or systemd running."""

from __future__ import annotations

import configparser
import re
import shlex
from pathlib import Path

import pytest
import typer.main
import yaml

from distilrec.cli import ship  # noqa: F401  it registers its commands
from distilrec.cli.app import app

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"


def commands() -> dict[str, list[str]]:
    """What each file gives to `distilrec serve`."""
    docker = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    told = re.search(r"^CMD (\[.*\])$", docker, re.MULTILINE)
    assert told is not None
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(DEPLOY / "distilrec.service", encoding="utf-8")
    started = shlex.split(unit["Service"]["ExecStart"])
    assert started[:2] == ["/opt/distilrec/bin/distilrec", "serve"]
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return {
        "Dockerfile": yaml.safe_load(told[1]),
        "compose.yaml": compose["services"]["server"]["command"],
        "distilrec.service": started[2:],
    }


@pytest.mark.parametrize("name", commands())
def test_the_server_understands_what_it_is_given(name: str) -> None:
    """Prevents an option that was renamed from being found out in production."""
    serve = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    context = serve.make_context("serve", commands()[name])
    assert str(context.params["bundle"]).endswith("bundle")
    assert context.params["state"].startswith(("sqlite:/", "redis://"))


def test_what_is_copied_and_mounted_is_there() -> None:
    docker = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    for line in re.findall(r"^COPY (.+)$", docker, re.MULTILINE):
        for name in line.split()[:-1]:
            assert (ROOT / name).exists(), name
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    mounted = compose["services"]["proxy"]["volumes"][0].split(":")[0]
    assert (DEPLOY / mounted).is_file()
    assert set(compose["services"]["server"]["depends_on"]) <= set(compose["services"])
