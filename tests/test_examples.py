"""The examples run as they stand, here on a small log in place of MovieLens."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from distilrec.data import synthetic

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV file of 60 users."""
    made = synthetic.cycles(60, 20, 12, seed=0).interactions
    users, positions = made.flat()
    columns = {"user": users, "item": made.histories.values[positions], "time": positions}
    path = tmp_path_factory.mktemp("data") / "log.csv"
    pl.DataFrame(columns).write_csv(path)
    return path


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(example: Path, log: Path, tmp_path: Path) -> None:
    """An interface that changes breaks its example, which only its first reader would find out."""
    command = [sys.executable, "-W", "error", str(example), str(log), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "0." in done.stdout
