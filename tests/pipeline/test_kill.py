"""What a killed run leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import distilrec

SCRIPT = Path(__file__).with_name("endless.py")
PROC = Path("/proc")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(distilrec.__file__).parents[1]), "OMP_NUM_THREADS": "1"}


def offspring(pid: int) -> set[int]:
    """A process's children, and theirs."""
    found = set()
    for stat in PROC.glob("[0-9]*/stat"):
        fields = stat.read_text(encoding="utf-8").rpartition(")")[2].split()
        if int(fields[1]) == pid:
            child = int(stat.parent.name)
            found |= {child} | offspring(child)
    return found


def alive(pid: int) -> bool:
    """Whether the process still runs; one that only waits to be buried doesn't."""
    try:
        return (PROC / str(pid) / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(not PROC.is_dir(), reason="children are looked up in /proc, which Linux alone has")
def test_no_process_outlives_a_run_that_is_killed(tmp_path: Path) -> None:
    """It would train on for hours, and write into a folder that another run has taken over."""
    command = [sys.executable, str(SCRIPT), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRONMENT, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "member mf\n"
        children = offspring(process.pid)
        assert len(children) >= 2  # one that trains, and one that passes messages on
        process.kill()
        deadline = time.monotonic() + 30
        while any(map(alive, children)) and time.monotonic() < deadline:
            time.sleep(0.1)  # between two looks, up to the deadline; no outcome depends on it
        assert not any(map(alive, children))
