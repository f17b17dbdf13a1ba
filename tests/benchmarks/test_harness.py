"""A result must be whole, and true about where it comes from."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from benchmarks import harness
from distilrec.report.parts import Environment

ELSEWHERE = Environment(
    versions={"python": "3.11.0"}, machine="another", seed=0, command="c", date="2026-01-02", commit="abc"
)


def test_a_result_holds_what_the_docs_read(tmp_path: Path) -> None:
    path = harness.write_result(
        "x", "python -m x", {"seconds": 1.5}, {"runs": [1, 2]}, environment=ELSEWHERE, folder=tmp_path
    )
    assert path == tmp_path / "x.json"
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "name": "x",
        "command": "python -m x",
        "commit": "abc",
        "date": "2026-01-02",
        "machine": "another",
        "versions": {"python": "3.11.0"},
        "figures": {"seconds": 1.5},
        "detail": {"runs": [1, 2]},
    }


def test_nan_is_refused_and_leaves_the_old_result(tmp_path: Path) -> None:
    """NaN isn't JSON, and a half-written file would lose what was measured before."""
    harness.write_result("x", "c", {"a": 1.0}, {}, environment=ELSEWHERE, folder=tmp_path)
    with pytest.raises(ValueError, match="JSON"):
        harness.write_result("x", "c", {"a": float("nan")}, {}, environment=ELSEWHERE, folder=tmp_path)
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))["figures"] == {"a": 1.0}
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_changed_code_is_told_from_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number of code that nobody else has must not carry a commit's name; results and prose don't count."""

    def git(*arguments: str) -> None:
        me = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", *me, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    (tmp_path / "code.py").write_text("a = 1\n", encoding="utf-8")
    git("add", ".")
    git("commit", "--message", "first")
    monkeypatch.setattr(harness, "ROOT", tmp_path)
    clean = harness.commit()
    assert len(clean) == 40
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    (tmp_path / "benchmarks" / "results" / "x.json").touch()
    (tmp_path / "notes.md").touch()
    assert harness.commit() == clean
    (tmp_path / "code.py").write_text("a = 2\n", encoding="utf-8")
    assert harness.commit() == f"{clean}-changed"


def test_the_machine_is_one_line() -> None:
    assert "cores" in harness.machine()
    assert "\n" not in harness.machine()
