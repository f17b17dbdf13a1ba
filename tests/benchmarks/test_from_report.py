"""Figures must be those that were asked for: right arm, right sign, and never a made-up number."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from benchmarks.from_report import detail, figures
from benchmarks.movielens_1m import further_figures
from distilrec.report import Report


def _arm(name: str, role: str, model: str, ndcg: float, parameters: int, method: str | None = None) -> dict[str, Any]:
    return {
        "name": name,
        "role": role,
        "model": model,
        "method": method,
        "seeds": [0],
        "parameters": parameters,
        "bytes": 4 * parameters,
        "metrics": {"ndcg@10": {"mean": ndcg, "per_seed": [ndcg]}},
    }


def _test(a: str, b: str, difference: float, ci95: list[float], p_holm: float) -> dict[str, Any]:
    p = {"p_value": p_holm / 2, "p_holm": p_holm, "test": "by hand"}
    return {"a": a, "b": b, "metric": "ndcg@10", "difference": difference, "ci95": ci95, **p}


CONTENT: dict[str, Any] = {
    "schema": 1,
    "recipe": {},
    "data": {"name": "log", "users": 9, "items": 9, "interactions": 9, "split": "last out", "fingerprint": "0"},
    "arms": [
        _arm("teacher", "teacher", "Ensemble", 0.20, 1000),
        _arm("student alone", "student_alone", "SASRec", 0.16, 100),
        _arm("distilled student", "distilled_student", "SASRec", 0.19, 100),
        _arm("sasrec", "teacher", "SASRec", 0.18, 500, "member of the teacher"),
        _arm("lightgcn", "teacher", "LightGCN", 0.12, 900, "member of the teacher"),
        _arm("ease", "teacher", "EASE", 0.19, 700, "member of the teacher"),
        _arm("self-distilled", "control", "SASRec", 0.17, 100, "taught by the student alone"),
    ],
    "comparisons": [
        _test("student alone", "distilled student", -0.03, [-0.05, -0.01], 0.02),
        _test("distilled student", "teacher", -0.01, [-0.03, 0.02], 0.4),
    ],
    "gap_closed": {"ndcg@10": 0.75},
    "retention": {"ndcg@10": 0.95},
    "compression": {"parameters": 0.1, "bytes": 0.1},
    "environment": {"versions": {}, "machine": "m", "seed": 0, "command": "c", "date": "2026-01-01"},
}


def _report(**changes: Any) -> Report:
    return Report.model_validate(copy.deepcopy(CONTENT) | changes)


def test_figures_by_hand() -> None:
    """The test of alone against distilled stands the other way round in the file; its p-value is the corrected one."""
    assert figures(_report()) == pytest.approx(
        {
            "student_parameters": 100,
            "teacher_ndcg@10": 0.20,
            "retention_ndcg@10": 0.95,
            "retention_lower95": -0.15,  # 0.03 / 0.20
            "gain_vs_alone": 0.1875,  # 0.03 / 0.16
            "p_value_vs_alone": 0.02,
        }
    )


def test_figures_of_members_by_hand() -> None:
    """Students and controls of the same model aren't members; EASE isn't neural, though it is the best of them."""
    found = further_figures(_report())
    assert found == pytest.approx({"sasrec_ndcg@10": 0.18, "parameters_over_best_neural": 0.2, "bytes_ratio": 0.1})


def test_a_single_teacher_is_its_own_member() -> None:
    arms = [_arm("teacher", "teacher", "SASRec", 0.2, 400), *CONTENT["arms"][1:3]]
    assert further_figures(_report(arms=arms))["parameters_over_best_neural"] == 0.25


@pytest.mark.parametrize("changes", [{"comparisons": []}, {"retention": {"ndcg@10": None}}])
def test_a_missing_number_is_an_error(changes: dict[str, Any]) -> None:
    """A result without a figure, or with one that nobody measured, would pass for a good one."""
    with pytest.raises(ValueError, match="holds no"):
        figures(_report(**changes))


def test_detail_holds_each_seed() -> None:
    arms = detail(_report())["arms"]
    assert [arm["metrics"]["ndcg@10"]["per_seed"] for arm in arms[:3]] == [[0.20], [0.16], [0.19]]
