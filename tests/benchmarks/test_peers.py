"""The pipe to a peer: answers must be whole, and a peer's death must be told."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import peers

# Stands for the Python of an environment: runs the session below, whatever module it is asked for.
SCRIPT = f"""#!{sys.executable}
import os, sys
sys.path.insert(0, os.getcwd())
from benchmarks.peers.channel import serve

class Session:
    def __init__(self, *arguments):
        self.arguments = arguments
    def about(self, extra):
        print("noise of a library")
        return {{"arguments": self.arguments, "threads": os.environ["OMP_NUM_THREADS"], "extra": extra}}
    def die(self):
        os._exit(3)

serve(Session, sys.argv[3:])
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text(SCRIPT, encoding="utf-8")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(peers, "environment", lambda name: python)


@pytest.mark.usefixtures("fake")
def test_what_a_library_prints_is_no_answer() -> None:
    with peers.Peer("x", "x_training", ["a", "b"], threads=1) as peer:
        assert peer.ask("about", extra=1.5) == {"arguments": ["a", "b"], "threads": "1", "extra": 1.5}


@pytest.mark.usefixtures("fake")
def test_a_peer_that_dies_is_told_of() -> None:
    """Waiting for its answer would take forever."""
    with peers.Peer("x", "x_training") as peer, pytest.raises(RuntimeError, match="code 3 when asked to die"):
        peer.ask("die")


def test_an_environment_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made anew at each run it would cost minutes; kept when its requirements change, it would be the wrong one."""
    commands: list[list[str]] = []

    def note(command: list[str], *, check: bool) -> None:
        commands.append(command)
        (tmp_path / "distilrec-peers" / "implicit").mkdir(parents=True, exist_ok=True)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(subprocess, "run", note)
    assert peers.environment("implicit") == peers.environment("implicit")
    assert [command[2] for command in commands] == ["venv", "pip"]
    monkeypatch.setitem(peers.REQUIREMENTS, "implicit", ("implicit==0",))
    peers.environment("implicit")
    assert commands[-1][-1] == "implicit==0"


def test_peer_scripts_know_nothing_of_distilrec() -> None:
    """It isn't installed where they run, but for the route that does our own work in another frame."""
    for path in Path(peers.__file__).parent.glob("*.py"):
        if path.name == "fastapi_serving.py":
            continue
        assert not re.search(r"(from|import) (distilrec|benchmarks.harness)", path.read_text(encoding="utf-8")), path
