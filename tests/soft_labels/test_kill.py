import os
import random
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import distilrec
from distilrec.errors import SoftLabelError
from distilrec.soft_labels import SoftLabels

SCRIPT = Path(__file__).with_name("recorder.py")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(distilrec.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
ROWS = 400


def record_and_kill(folder: Path, goal: int) -> int:
    """Record in a process of its own until so many rows are done, then kill -9; returns the rows done."""
    command = [sys.executable, str(SCRIPT), str(folder)]
    done = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRONMENT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            done = int(line)
            if done >= goal:
                process.kill()
    assert process.returncode == -signal.SIGKILL
    return done


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_killed_at_random_moments_the_bytes_are_those_of_an_uninterrupted_recording(tmp_path, monkeypatch):
    """A shard written by half, a tail drawn anew or a temperature fitted anew would go unnoticed."""
    rng, done = random.Random(0), 0
    for _ in range(3):
        done = record_and_kill(tmp_path / "killed", done + rng.randrange(20, 100))
        assert 0 < done < ROWS
        assert not (tmp_path / "killed" / "manifest.json").exists()
    for name in ("killed", "whole"):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(tmp_path / name)])
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    SoftLabels.open(tmp_path / "killed").verify()


def test_two_processes_do_not_record_into_one_folder(tmp_path, monkeypatch):
    """Each would remove what the other has half written; a lock that outlives its process would end all recording."""
    folder = tmp_path / "shared"
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(folder)])
    command = [sys.executable, str(SCRIPT), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRONMENT, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.kill(process.pid, signal.SIGSTOP)
        try:
            with pytest.raises(SoftLabelError, match="another process is recording into"):
                runpy.run_path(str(SCRIPT), run_name="__main__")
        finally:
            process.kill()
    runpy.run_path(str(SCRIPT), run_name="__main__")
    SoftLabels.open(folder).verify()
