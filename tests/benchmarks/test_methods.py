"""The figures of a comparison are those of the method that validation chose, not of the one that test likes best."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.harness import write_result
from benchmarks.methods import best_arm, detail_of, figures_by_width, figures_of_one, other_widths
from distilrec.report import Report, leaderboard
from scripts.update_docs import ENGLISH, updated


def _arm(name: str, role: str, quality: float, parameters: int = 100) -> dict[str, Any]:
    metrics = {"ndcg@10": {"mean": quality, "per_seed": [quality]}, "coverage@10": {"mean": 0.25, "per_seed": [0.25]}}
    sizes = {"parameters": parameters, "bytes": 2 * parameters, "train_seconds": 3.0}
    return {"name": name, "role": role, "model": "M", "seeds": [0], "metrics": metrics, **sizes}


def _test(a: str, b: str, difference: float) -> dict[str, Any]:
    p = {"ci95": [difference - 0.01, difference + 0.01], "p_value": 0.01, "p_holm": 0.03, "test": "by hand"}
    return {"a": a, "b": b, "metric": "ndcg@10", "difference": difference, **p}


def _report(rrd: float = 0.3) -> Report:
    tuning = [("student alone", 0.9), ("distilled student", 0.25), ("rrd", 0.26), ("de", 0.2)]
    content = {
        "schema": 1,
        "metric": "ndcg@10",
        "recipe": {},
        "data": {"name": "log", "users": 9, "items": 9, "interactions": 9, "split": "column", "fingerprint": "0"},
        "arms": [
            _arm("teacher", "teacher", 0.4, 1000),
            _arm("student alone", "student_alone", 0.2),
            _arm("distilled student", "distilled_student", 0.28),
            _arm("de", "distilled_student", 0.35),
            _arm("rrd", "distilled_student", rrd),
            _arm("shuffled teacher", "control", 0.1),
        ],
        "comparisons": [
            _test("distilled student", "student alone", 0.08),
            _test("distilled student", "teacher", -0.12),
            _test("distilled student", "rrd", 0.28 - rrd),
            _test("rrd", "student alone", rrd - 0.2),
        ],
        "gap_closed": {"ndcg@10": 0.4},
        "retention": {"ndcg@10": 0.7},
        "compression": {"parameters": 0.1, "bytes": 0.1},
        "tuning": [{"arm": a, "trials": 8, "settings": {}, "validation": v} for a, v in tuning],
        "environment": {"versions": {}, "machine": "m", "seed": 0, "command": "c", "date": "2026-01-01", "commit": "0"},
    }
    return Report.model_validate(content)


def test_validation_chooses_the_method() -> None:
    """`de` is best on test; taking it would be choosing on test."""
    assert best_arm(_report()).name == "rrd"


def test_figures_by_hand() -> None:
    assert figures_by_width({10: _report(), 20: _report(0.32)}) == {
        "ndcg@10_teacher": 0.4,
        "ndcg@10_width10": 0.3,
        "ndcg@10_width10_alone": 0.2,
        "ndcg@10_width20": 0.32,
        "ndcg@10_width20_alone": 0.2,
    }
    found = figures_of_one(_report())
    assert (found["parameter_ratio"], found["bytes_ratio"], found["retention_ndcg@10"]) == (0.1, 0.1, 0.7)


def test_the_leaderboard_by_hand() -> None:
    """A gain whose sign is turned, or a control among the methods, would stand in the docs."""
    rows = {row.arm: row for row in leaderboard(_report())}
    assert list(rows) == ["teacher", "student alone", "de", "rrd", "distilled student", "shuffled teacher"]
    assert rows["rrd"].over_soft_labels == pytest.approx(0.02)
    assert rows["rrd"].over_alone == pytest.approx(0.1)
    assert rows["rrd"].gap_closed == pytest.approx(0.5)
    assert (rows["rrd"].p_over_alone, rows["de"].p_over_alone) == (0.03, None)
    assert rows["teacher"].gap_closed is None
    assert rows["rrd"].cells()[0] == "rrd"


def test_the_docs_hold_every_row() -> None:
    source = {"command": "c", "commit": "0", "machine": "m", "date": "2026-01-01"}
    text = "<!-- begin:methods-citeulike -->\n<!-- end:methods-citeulike -->\n"
    result = {**source, "figures": {}, "detail": {"width 20": detail_of(_report())}}
    table = updated(text, {"methods_citeulike": result}, ENGLISH)
    assert "| rrd | 0.3000 | +0.0200 |" in table
    assert "| shuffled teacher |" in table
    assert "Best on validation: `rrd`." in table


def test_the_page_says_what_is_shown_beside_plain_soft_labels() -> None:
    """Prevents a better mean from being sold as a better method."""
    found = {"width 20": detail_of(_report())}
    about = {"command": "c", "commit": "abc", "date": "2026-01-02", "machine": "two cores", "figures": {}}
    text = "<!-- begin:methods-citeulike -->\n<!-- end:methods-citeulike -->\n"
    lines = updated(text, {"methods_citeulike": {**about, "detail": found}}, ENGLISH).splitlines()
    assert "![log, student of width 20: NDCG@10 on test](pictures/citeulike-width-20.svg)" in lines
    said = next(line for line in lines if line.startswith("Best on validation"))
    assert said == (
        "Best on validation: `rrd`. Shown to be better than plain soft labels (p < 0.05, corrected): `rrd`; "
        "shown to be worse: none."
    )


def test_widths_that_are_not_measured_stay_with_what_measured_them(tmp_path: Path) -> None:
    """Else measuring every method at one width would cost the figures of all others, or give them a false source."""
    assert other_widths("methods_log", {}, tmp_path) == {"figures": {}, "detail": {}}
    figures = {"recall@50_teacher": 0.4, "recall@50_width10": 0.3, "recall@50_width10_alone": 0.2}
    detail = {"width 10": {"metric": "recall@50"}, "width 100": {"metric": "recall@50"}}
    write_result("methods_log", "earlier", {**figures, "recall@50_width100": 0.39}, detail, folder=tmp_path)
    kept = other_widths("methods_log", {"width 100": {}}, tmp_path)
    assert kept["figures"] == {"recall@50_width10": 0.3, "recall@50_width10_alone": 0.2}
    assert kept["detail"]["width 10"]["command"] == "earlier"
    write_result("methods_log", "now", kept["figures"], kept["detail"] | {"width 100": {}}, folder=tmp_path)
    assert other_widths("methods_log", {"width 100": {}}, tmp_path) == kept
