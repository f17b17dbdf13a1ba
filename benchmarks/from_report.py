"""From the report.json of a run to the figures of a benchmark."""

from __future__ import annotations

from typing import Any

from distilrec.report import Report, reservations, verdict
from distilrec.report.verdict import gain, retention_interval

__all__ = ["METRIC", "detail", "figures"]

METRIC = "ndcg@10"


def figures(report: Report) -> dict[str, float]:
    """What is asked of every distilled student.

    `student_parameters`. `teacher_ndcg@10`. `retention_ndcg@10`: distilled / teacher.
    `retention_lower95`: lower end of the 95 % interval of distilled / teacher - 1, as `retention_interval` has
    it; -0.03 says that at most 3 % was lost. `gain_vs_alone`: distilled / alone - 1.
    `p_value_vs_alone`: of that difference, after Holm's correction over all tests of the report.
    Raises ValueError where the report has no such number.
    """
    if report.metric != METRIC:
        raise ValueError(f"These figures are about {METRIC}; the report's metric is {report.metric}")
    teacher, student = report.arm("teacher"), report.arm("distilled_student")
    alone = report.between(student.name, report.arm("student_alone").name)
    return {
        "student_parameters": student.parameters,
        f"teacher_{METRIC}": teacher.metrics[METRIC].mean,
        f"retention_{METRIC}": _given(report.retention.get(METRIC), "retention"),
        "retention_lower95": _given(retention_interval(report), "retention interval")[0] - 1,
        "gain_vs_alone": _given(gain(report), "gain over the student alone"),
        "p_value_vs_alone": _given(alone, "test against the student alone").p_holm,
    }


def detail(report: Report) -> dict[str, Any]:
    """Everything measured of each arm and seed, and under which settings."""
    parts = {
        "recipe",
        "data",
        "arms",
        "comparisons",
        "gap_closed",
        "compression",
        "agreement",
        "audit",
        "tuning",
    }
    said = " ".join([verdict(report), *reservations(report)])
    return {"verdict": said, **report.model_dump(mode="json", include=parts)}


def _given(value: Any, name: str) -> Any:
    if value is None:
        raise ValueError(f"The report holds no {name}")
    return value
