"""How a command ends: what is printed, and the exit code."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
from safetensors import SafetensorError

import distilrec
from distilrec.cli import main, tools


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Call the command line; gives exit code, stdout and stderr."""

    def call(*arguments: str | Path) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["distilrec", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code or 0, *capsys.readouterr()

    return call


def test_the_version_is_printed(ended, monkeypatch, capsys) -> None:
    assert ended("--version") == (0, f"distilrec {distilrec.__version__}\n", "")
    monkeypatch.setattr(sys, "argv", ["distilrec", "--version"])
    with pytest.raises(SystemExit):
        runpy.run_module("distilrec", run_name="__main__")
    assert capsys.readouterr().out == f"distilrec {distilrec.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--json"], "Missing argument"),
        (["runn", "--json"], "No such command 'runn'"),
        (["run", "r.yaml", "--out", "x", "--jobs", "many", "--json"], "Invalid value for '--jobs'"),
        (["run", "r.yaml", "--out", "x", "--jbs", "2", "--json"], "No such option: --jbs"),
    ],
)
def test_a_command_that_cannot_be_read_is_an_error_in_json_too(arguments: list[str], said: str, ended) -> None:
    """A program that reads stdout would find nothing there."""
    code, out, _ = ended(*arguments)
    assert code == 2
    assert said in json.loads(out)["error"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(13, "Permission denied", "runs/x"), "Error: runs/x: Permission denied; see that the place"),
        (OSError(28, "No space left on device"), "Error: [Errno 28] No space left on device; see that the place"),
        (SafetensorError("No space left"), "Error: No space left; see that the place"),
    ],
)
def test_a_full_disk_or_a_missing_right_is_one_sentence(error, said: str, ended, monkeypatch) -> None:
    monkeypatch.setattr("distilrec.doctor.examine", lambda: (_ for _ in ()).throw(error))
    code, _, err = ended("doctor")
    assert code == 1
    assert err.startswith(said)
    assert err.count("\n") == 1


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_an_interruption_says_how_to_go_on(more: list[str], ended, monkeypatch) -> None:
    monkeypatch.setattr("distilrec.doctor.examine", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    assert ended("doctor", *more) == (130, "", "Interrupted; the same command goes on where it stopped.\n")


def test_an_error_of_ours_keeps_its_traceback(ended, monkeypatch) -> None:
    """Prevents a net that is too wide from hiding what has to be mended here."""
    monkeypatch.setattr(tools, "show_table", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ended("doctor")
