"""Numbers in the docs must be those that were measured, and nothing else may be touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.update_docs import CHINESE, ENGLISH, main, updated

TEXT = "before\n<!-- begin:results -->\nold\n<!-- end:results -->\nafter\n"


def _arm(role: str, ndcg: float) -> dict[str, Any]:
    metrics = {"ndcg@10": {"mean": ndcg, "ci95": [ndcg - 0.01, ndcg + 0.01]}}
    sizes = {"parameters": 23_000, "bytes": 46_000, "latency_ms": {"p50": 0.2, "p95": 0.3, "p99": 0.4}}
    return {"role": role, "model": "M", "metrics": metrics, **sizes}


RESULT = {
    "command": "python -m benchmarks.quickstart",
    "commit": "0123456789abcdef",
    "date": "2026-01-02T03:04:05+00:00",
    "machine": "two cores",
    "figures": {"seconds_total": 95.0},
    "detail": {
        "data": {"name": "ml-100k"},
        "arms": [
            _arm("teacher", 0.09),
            _arm("control", 0.5),
            _arm("student_alone", 0.06),
            _arm("distilled_student", 0.08),
        ],
    },
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    (tmp_path / "docs" / "decisions").mkdir(parents=True)
    (tmp_path / "benchmarks" / "results" / "quickstart.json").write_text(json.dumps(RESULT), encoding="utf-8")
    for name in ("README.md", "README.zh-CN.md", "docs/decisions/one.md"):
        (tmp_path / name).write_text(TEXT, encoding="utf-8")
    (tmp_path / "docs" / "plain.md").write_text("nothing measured\n", encoding="utf-8")
    return tmp_path


def test_the_table_by_hand() -> None:
    lines = updated(TEXT, {"quickstart": RESULT}, ENGLISH).splitlines()
    assert lines[0] == "before"
    assert lines[-1] == "after"
    assert lines[6] == "| ml-100k | **distilled student** (M) | 0.0800 [0.0700, 0.0900] | 23,000 | 46.0 kB | 0.20 ms |"
    assert lines[8] == (
        "ml-100k: Measured by `python -m benchmarks.quickstart` on two cores; commit 0123456789, 2026-01-02. "
        "From an empty folder to the report: 1 min 35 s."
    )


def test_cells_of_the_training_benchmark_by_hand() -> None:
    """A cell without a race has no time to quality, and that must not read as one of 0."""
    about = {"command": "c", "commit": "abc", "date": "2026-01-02", "machine": "two cores"}
    found = {"epoch_speedup": 2.5, "theirs_test_ndcg@10": 0.05}
    training = {**about, "figures": {}, "detail": {"bpr.ml-100k.recbole": {**about, "figures": found, "detail": {}}}}
    text = "<!-- begin:training -->\n<!-- end:training -->\n"
    lines = updated(text, {"training": training}, ENGLISH).splitlines()
    assert lines[3] == "| bpr | ml-100k | recbole | × 2.5 |  |  | 0.0500 |"
    assert lines[5] == "Measured by `c` on two cores; commit abc, 2026-01-02."


def test_costs_of_a_step_by_hand() -> None:
    """A method that one kind of student can't have leaves its cell empty."""
    costs = {"kl": {"over_kl": 1.0}, "rrd": {"over_kl": 0.716}}
    detail = {"matrix_factorization": {**costs, "ir_rrd": {"over_kl": 0.78}}, "history_encoder": costs}
    text = updated("<!-- begin:losses -->\n<!-- end:losses -->\n", {"losses": RESULT | {"detail": detail}}, ENGLISH)
    assert text.splitlines()[3:6] == ["| `ir_rrd` | 0.78 |  |", "| `kl` | 1.00 | 1.00 |", "| `rrd` | 0.72 | 0.72 |"]


def test_figures_by_hand() -> None:
    text = "<!-- begin:scale -->\n<!-- end:scale -->\n"
    lines = updated(text, {"scale": {**RESULT, "figures": {"peak": 0.12345}}}, ENGLISH).splitlines()
    assert lines[3] == "| `peak` | 0.123 |"


def test_marks_in_prose_are_prose() -> None:
    text = "Regions lie between `<!-- begin:results -->` and\n`<!-- end:results -->`.\n"
    assert updated(text, {}, ENGLISH) == text


def test_the_chinese_readme_holds_the_same_numbers() -> None:
    text = updated(TEXT, {"quickstart": RESULT}, CHINESE)
    assert "| ml-100k | 教师 (M) | 0.0900 [0.0800, 0.1000] |" in text


def test_check_writes_nothing_and_names_what_differs(root: Path) -> None:
    assert main(root, check=True) == ["README.md", "README.zh-CN.md", "docs/decisions/one.md"]
    assert (root / "README.md").read_text(encoding="utf-8") == TEXT


def test_a_second_time_changes_nothing(root: Path) -> None:
    """Else `make docs-check` would fail right after `make docs`."""
    assert len(main(root, check=False)) == 3
    assert main(root, check=True) == []
    assert (root / "docs" / "plain.md").read_text(encoding="utf-8") == "nothing measured\n"


@pytest.mark.parametrize(
    "text",
    ["<!-- begin:results -->\n", "<!-- begin:results -->\n<!-- end:result -->", "<!-- begin:x -->\n<!-- end:x -->"],
)
def test_a_broken_mark_is_an_error(text: str) -> None:
    """A region that isn't recognised would keep its old numbers for ever."""
    with pytest.raises(ValueError, match=r"half|unknown region"):
        updated(text, {}, ENGLISH)
