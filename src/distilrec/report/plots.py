"""The geometry of the page's pictures: places in percent of the plot, drawn as SVG by the template.

Percentages let one picture fit every width while its text keeps its size. x runs to the right and y downward,
both over 0..100.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from distilrec.report.axes import Axis, Tick, horizontal_ticks, vertical_ticks
from distilrec.report.numbers import number

__all__ = ["Column", "Key", "Line", "Mark", "Plot", "Series", "line_plot", "path"]


@dataclass(frozen=True)
class Series:
    """One line to draw; it bridges the gaps that None leaves. A faint one has no legend and no hover."""

    label: str
    role: str
    points: Sequence[tuple[float, float | None]]
    dash: int = 0
    faint: bool = False


@dataclass(frozen=True)
class Line:
    """A path in a box of 100 x 100."""

    role: str
    path: str
    dash: int = 0
    faint: bool = False


@dataclass(frozen=True)
class Key:
    """An entry of the legend; `dash` is None where marks stand alone."""

    label: str
    role: str
    dash: int | None = None


@dataclass(frozen=True)
class Mark:
    """A point, its interval (percent, or None), what it says on hover, and a label to print beside it."""

    x: float
    y: float
    role: str
    tip: str = ""
    whisker: tuple[float, float] | None = None
    label: str = ""
    side: str = ""


@dataclass(frozen=True)
class Column:
    """A vertical strip that tells its numbers on hover."""

    x: float
    width: float
    tip: str


@dataclass(frozen=True)
class Plot:
    """All that the template draws."""

    title: str
    summary: str
    x_label: str
    y_label: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    lines: list[Line] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    columns: list[Column] = field(default_factory=list)
    legend: list[Key] = field(default_factory=list)


def path(points: Sequence[tuple[float, float]]) -> str:
    """SVG path data through points.

    >>> path([(0, 100), (50, 20.5)])
    'M0 100L50 20.5'
    """
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points)


def line_plot(
    title: str, series: Sequence[Series], *, x_label: str, y_label: str, names: Sequence[str] | None = None
) -> Plot | None:
    """Lines over x; with `names`, x counts named groups and each value gets a mark. None without a value."""
    known = [[(x, y) for x, y in one.points if y is not None] for one in series]
    points = [point for line in known for point in line]
    if not points:
        return None
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    x_axis = Axis(-0.5, len(names) - 0.5) if names else Axis(first, max(last, first + 1))
    y_axis = Axis.around([y for _, y in points])
    spots = [[(x_axis.place(x), y_axis.place_from_top(y)) for x, y in line] for line in known]
    drawn = [(one, line) for one, line in zip(series, spots, strict=True) if line]
    told = {one.label: dict(line) for one, line in zip(series, known, strict=True) if line and not one.faint}
    return Plot(
        title,
        _summary(title, told),
        x_label,
        y_label,
        [Tick(x_axis.place(i), name) for i, name in enumerate(names)] if names else horizontal_ticks(x_axis),
        vertical_ticks(y_axis),
        lines=[Line(one.role, path(line), one.dash, one.faint) for one, line in drawn],
        marks=[Mark(x, y, one.role) for one, line in drawn for x, y in line] if names else [],
        columns=_columns(told, x_axis, lambda x: names[round(x)] if names else f"{x_label} {x:g}"),
        legend=[Key(one.label, one.role, one.dash) for one, _ in drawn if not one.faint],
    )


def _columns(told: dict[str, dict[float, float]], axis: Axis, head: Callable[[float], str]) -> list[Column]:
    """For each x a strip that reaches halfway to its neighbours."""
    places = sorted({x for line in told.values() for x in line})
    edges = [axis.low, *((a + b) / 2 for a, b in itertools.pairwise(places)), axis.high]
    columns = []
    for x, (low, high) in zip(places, itertools.pairwise(edges), strict=True):
        values = [f"{name}: {number(line[x])}" for name, line in told.items() if x in line]
        left, right = axis.place(low), axis.place(high)
        columns.append(Column(left, round(right - left, 3), "\n".join([head(x), *values])))
    return columns


def _summary(title: str, told: dict[str, dict[float, float]]) -> str:
    """What a screen reader says of the picture: each line's first and last value."""
    ends = [(name, list(line.values())) for name, line in told.items()]
    parts = [f"{name} from {number(values[0])} to {number(values[-1])}" for name, values in ends]
    return f"{title}: {'; '.join(parts)}."
