"""The leaderboard as a picture: an SVG file of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from distilrec.report.axes import Axis, Tick, horizontal_ticks
from distilrec.report.html import environment
from distilrec.report.leaderboard import Row
from distilrec.report.numbers import number
from distilrec.report.view import ORDER

__all__ = ["leaderboard_picture"]

WIDTH, LEFT, RIGHT, TOP, STEP = 760.0, 200.0, 660.0, 34.0, 24.0
PLAIN = "distilled student"


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
    roles: tuple[str, ...] = ORDER
    width: float = WIDTH
    left: float = LEFT
    right: float = RIGHT
    top: float = TOP


def leaderboard_picture(title: str, rows: Sequence[Row]) -> str:
    """SVG text: each arm's quality with its interval, best first, and lines at the teacher and the student alone.

    rows: as `leaderboard` gives them, at least one. Plain soft labels are set in bold. Raises MissingExtraError without
    Jinja2.
    """
    ordered = sorted(rows, key=lambda row: -row.quality)
    axis = Axis.around([value for row in ordered for value in (row.quality, *(row.ci95 or ()))], pad=0.03)

    def place(value: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * axis.place(value) / 100, 1)

    spots = []
    for index, row in enumerate(ordered):
        low, high = row.ci95 or (row.quality, row.quality)
        y, x = TOP + STEP * (index + 0.5), place(row.quality)
        said = number(row.quality)
        spots.append(_Spot(row.arm, row.role, row.arm == PLAIN, y, x, place(low), place(high), said))
    bottom = TOP + STEP * len(spots)
    picture = _Picture(
        title,
        f"{title}: {', '.join(f'{spot.name} {spot.said}' for spot in spots)}",
        spots,
        [_Line(spot.role, spot.x) for spot in spots if spot.role in ("teacher", "student_alone")],
        [replace(tick, at=round(LEFT + (RIGHT - LEFT) * tick.at / 100, 1)) for tick in horizontal_ticks(axis)],
        bottom,
        bottom + 30,
    )
    return environment().get_template("leaderboard.svg").render(p=picture)
