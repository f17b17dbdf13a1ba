"""Ways to distil one student, side by side, from a report."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from distilrec.report.numbers import interval, number, p_value, percent
from distilrec.report.parts import Comparison
from distilrec.report.schema import Report

__all__ = ["COLUMNS", "Row", "leaderboard"]

COLUMNS = ("", "quality [95 % interval]", "− soft labels", "p", "− alone", "p", "of the gap", "train s", "coverage",
           "popularity")  # fmt: skip


class Row(BaseModel):
    """One arm: quality, what it gains, and at what price. p-values are corrected for all tests of the report.

    gap_closed: (arm - alone) / (teacher - alone), None where teacher and student alone don't differ for sure.
    """

    model_config = ConfigDict(frozen=True)

    arm: str
    role: str
    quality: float
    ci95: tuple[float, float] | None
    over_soft_labels: float | None
    p_over_soft_labels: float | None
    over_alone: float | None
    p_over_alone: float | None
    gap_closed: float | None
    train_seconds: float
    coverage: float | None
    popularity_shift: float | None

    def cells(self) -> list[str]:
        """As text, in the order of COLUMNS."""
        return [
            self.arm,
            interval(self.quality, self.ci95),
            _signed(self.over_soft_labels),
            _p(self.p_over_soft_labels),
            _signed(self.over_alone),
            _p(self.p_over_alone),
            "" if self.gap_closed is None else percent(self.gap_closed),
            f"{self.train_seconds:.0f}",
            "" if self.coverage is None else percent(self.coverage),
            _signed(self.popularity_shift, 2),
        ]


def leaderboard(report: Report) -> list[Row]:
    """Teacher and student alone first, then every way to distil, then controls; each kind by quality, best first."""
    names = {role: report.arm(role).name for role in ("teacher", "student_alone", "distilled_student")}
    quality = {arm.name: arm.metrics[report.metric].mean for arm in report.arms}
    gap = quality[names["teacher"]] - quality[names["student_alone"]]
    sure = report.gap_closed.get(report.metric) is not None
    rows = []
    for arm in report.arms:
        soft = report.between(arm.name, names["distilled_student"])
        alone = report.between(arm.name, names["student_alone"])
        over_alone = quality[arm.name] - quality[names["student_alone"]]
        of_gap = over_alone / gap if sure and arm.role in ("distilled_student", "control") else None
        beyond = {name.partition("@")[0]: value.mean for name, value in arm.metrics.items()}
        rows.append(
            Row(
                arm=arm.name,
                role=arm.role,
                quality=quality[arm.name],
                ci95=arm.metrics[report.metric].ci95,
                over_soft_labels=None if soft is None else soft.difference,
                p_over_soft_labels=_corrected(soft),
                over_alone=None if alone is None else alone.difference,
                p_over_alone=_corrected(alone),
                gap_closed=of_gap,
                train_seconds=arm.train_seconds or 0.0,
                coverage=beyond.get("coverage"),
                popularity_shift=beyond.get("popularity_shift"),
            )
        )
    order = ["teacher", "student_alone", "distilled_student", "control"]
    return sorted(rows, key=lambda row: (order.index(row.role), -row.quality))


def _corrected(test: Comparison | None) -> float | None:
    return None if test is None else test.p_holm


def _signed(value: float | None, decimals: int = 4) -> str:
    return "" if value is None else number(value, decimals, sign=True)


def _p(value: float | None) -> str:
    return "" if value is None else p_value(value)
