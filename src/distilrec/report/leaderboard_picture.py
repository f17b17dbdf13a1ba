"""The leaderboard as a picture: an SVG file of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from distilrec.report.axes import Axis, Tick, horizontal_ticks
from distilrec.report.html import environment
from distilrec.report.leaderboard import Row
from distilrec.report.numbers import label, number
from distilrec.report.view import ORDER

__all__ = ["leaderboard_picture", "leaderboard_title"]

# Pixels; CHARACTER is a wide one of the names beside the plot.
PLOT, NUMBERS, TOP, STEP, CHARACTER = 460.0, 100.0, 34.0, 24.0, 7.5
PLAIN, TEACHER = "distilled student", "teacher"


@dataclass(frozen=True)
class _Spot:
    name: str
    role: str
    plain: bool
    y: float
    x: float
    low: float
    high: float
    said: str


@dataclass(frozen=True)
class _Line:
    role: str
    x: float


@dataclass(frozen=True)
class _Picture:
    title: str
    summary: str
    rows: list[_Spot]
    lines: list[_Line]
    ticks: list[Tick]
    bottom: float
    height: float
    left: float
    right: float
    width: float
    roles: tuple[str, ...] = ORDER
    top: float = TOP


def leaderboard_title(name: str, student: str, metric: str) -> str:
    """Such as "citeulike, student of width 20: Recall@50 on test"."""
    return f"{name}, student of {student}: {label(metric)} on test"


def leaderboard_picture(title: str, rows: Sequence[Row]) -> str:
    """SVG text: each arm's quality with its interval, best first, and lines at the teacher and the student alone.

    rows: as `leaderboard` gives them, at least one. Plain soft labels, the arm "distilled student", are set in bold.
    Raises MissingExtraError without Jinja2.
    """
    ordered = sorted(rows, key=lambda row: -row.quality)
    axis = Axis.around([value for row in ordered for value in (row.quality, *(row.ci95 or ()))], pad=0.03)
    left = 20 + CHARACTER * max(len(row.arm) for row in ordered)

    def place(percent: float) -> float:
        return round(left + PLOT * percent / 100, 1)

    spots = []
    for index, row in enumerate(ordered):
        low, high = row.ci95 or (row.quality, row.quality)
        x, first, last = (place(axis.place(value)) for value in (row.quality, low, high))
        y, said = TOP + STEP * (index + 0.5), number(row.quality)
        spots.append(_Spot(row.arm, row.role, row.arm == PLAIN, y, x, first, last, said))
    bottom = TOP + STEP * len(spots)
    picture = _Picture(
        title,
        f"{title}: {', '.join(f'{spot.name} {spot.said}' for spot in spots)}",
        spots,
        [_Line(spot.role, spot.x) for spot in spots if spot.name == TEACHER or spot.role == "student_alone"],
        [replace(tick, at=place(tick.at)) for tick in horizontal_ticks(axis)],
        bottom,
        height=bottom + 30,
        left=left,
        right=left + PLOT,
        width=left + PLOT + NUMBERS,
    )
    return environment().get_template("leaderboard.svg").render(p=picture)
