"""What the page shows, worked out from a report; the template only lays it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from distilrec.report.axes import Span, spans
from distilrec.report.numbers import count, label, milliseconds, number, p_value, percent, size
from distilrec.report.parts import Arm, Comparison, Role
from distilrec.report.schema import Report
from distilrec.report.verdict import gain

__all__ = [
    "KeyFigure",
    "MetricTable",
    "agreement_measures",
    "comparisons_by_metric",
    "difference_spans",
    "has_costs",
    "in_order",
    "key_figures",
    "kind",
    "metric_spans",
    "metric_tables",
]

ORDER: tuple[Role, ...] = ("teacher", "student_alone", "distilled_student", "control")
BEYOND = ("coverage", "novelty", "popularity_shift")


@dataclass(frozen=True)
class KeyFigure:
    """One number that answers the user's question, and what it is made of."""

    label: str
    value: str
    note: str


@dataclass(frozen=True)
class MetricTable:
    """The metrics of one kind, for all arms."""

    title: str
    metrics: list[str]


def in_order(arms: Sequence[Arm]) -> list[Arm]:
    """Teacher, student alone, distilled students, then controls."""
    return sorted(arms, key=lambda arm: ORDER.index(arm.role))


def key_figures(report: Report) -> list[KeyFigure]:
    """Quality kept, gain, gap closed, and the size and speed of the distilled student, as far as known."""
    teacher, distilled = report.arm("teacher"), report.arm("distilled_student")
    ratios = report.compression
    figures = [
        *_quality_figures(report),
        _ratio("of the parameters", ratios.parameters, *(count(arm.parameters) for arm in (distilled, teacher))),
        _ratio("of the bytes", ratios.bytes, *(size(arm.bytes) for arm in (distilled, teacher))),
    ]
    if distilled.latency_ms and teacher.latency_ms:
        times = milliseconds(distilled.latency_ms.p50), milliseconds(teacher.latency_ms.p50)
        figures.append(_ratio("of the median latency", ratios.latency, *times))
    return [figure for figure in figures if figure is not None]


def _quality_figures(report: Report) -> list[KeyFigure | None]:
    metric = report.metric
    teacher, alone, distilled = (
        number(report.arm(role).metrics[metric].mean) for role in ("teacher", "student_alone", "distilled_student")
    )
    test = report.between(report.arm("distilled_student").name, report.arm("student_alone").name)
    gained, gap = gain(report), report.gap_closed.get(metric)
    against = f"{distilled} against {alone}" + (f", {p_value(test.p_holm)}" if test else "")
    reason = "undefined: the teacher is not shown to beat the student alone"
    return [
        _ratio(f"of the teacher's {label(metric)}", report.retention.get(metric), distilled, teacher),
        None if gained is None else KeyFigure("over the student alone", percent(gained, sign=True), against),
        None
        if metric not in report.gap_closed
        else KeyFigure("of the gap closed", "–", reason)
        if gap is None
        else KeyFigure("of the gap closed", percent(gap), "from the student alone to the teacher"),
    ]


def _ratio(name: str, ratio: float | None, student: str, teacher: str) -> KeyFigure | None:
    return None if ratio is None else KeyFigure(name, percent(ratio), f"{student} of {teacher}")


def kind(metric: str) -> str:
    """The table that a metric belongs to.

    >>> kind("recall@10"), kind("like_recall"), kind("ndcg@10 of cold items in one list")
    ('Ranking', 'Click and like prediction', 'Cold and warm items')
    """
    if metric.startswith("like_"):
        return "Click and like prediction"
    if metric.endswith(("items", "items in one list")):
        return "By what is known of the user" if " after " in metric else "Cold and warm items"
    return "Beyond accuracy" if metric.partition("@")[0] in BEYOND else "Ranking"


def metric_tables(report: Report) -> list[MetricTable]:
    """All metrics of all arms, by kind, in the order of the report; the main metric alone needs no table."""
    names = list(dict.fromkeys(name for arm in report.arms for name in arm.metrics))
    kinds = (
        "Ranking",
        "Cold and warm items",
        "By what is known of the user",
        "Click and like prediction",
        "Beyond accuracy",
    )
    tables = [MetricTable(title, [name for name in names if kind(name) == title]) for title in kinds]
    return [table for table in tables if table.metrics not in ([], [report.metric])]


def has_costs(report: Report) -> bool:
    """Whether anything is known beyond parameters and bytes."""
    return bool(report.flops_per_query) or any(
        cost is not None for arm in report.arms for cost in (arm.latency_ms, arm.train_seconds, arm.record_seconds)
    )


def metric_spans(arms: Sequence[Arm], metric: str) -> dict[str, Span]:
    """By arm: the interval of one metric, on one scale."""
    shown = [arm for arm in arms if metric in arm.metrics]
    if not shown:
        return {}
    found = spans([(arm.metrics[metric].mean, arm.metrics[metric].ci95) for arm in shown])
    return {arm.name: span for arm, span in zip(shown, found, strict=True)}


def comparisons_by_metric(report: Report) -> dict[str, list[Comparison]]:
    """The comparisons of each metric, in the order of the report."""
    names = dict.fromkeys(test.metric for test in report.comparisons)
    return {name: [test for test in report.comparisons if test.metric == name] for name in names}


def agreement_measures(report: Report) -> list[str]:
    """The measures of agreement that any arm has."""
    return list(dict.fromkeys(name for measures in report.agreement.values() for name in measures))


def difference_spans(tests: Sequence[Comparison]) -> tuple[float, list[Span]]:
    """Where zero lies, and the differences with their intervals, on one scale; tests of one metric."""
    zero, *found = spans([(0.0, None), *((test.difference, test.ci95) for test in tests)])
    return zero.mid, found
