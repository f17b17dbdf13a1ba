"""The picture of quality against size, with labels that don't run into each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from distilrec.report.axes import Axis, horizontal_ticks, vertical_ticks
from distilrec.report.numbers import count, interval, label, milliseconds, size
from distilrec.report.parts import ParetoPoint
from distilrec.report.plots import Key, Line, Mark, Plot, path

__all__ = ["pareto_plot"]

# Labels are placed for a phone; on a wider screen the points only move apart.
WIDTH, HEIGHT = 290.0, 320.0
LETTER, LINE = 6.6, 14.0
SIDES = ("above", "above left", "above right", "below", "below left", "below right", "right", "left")
Box = tuple[float, float, float, float]


def pareto_plot(points: Sequence[ParetoPoint], metric: str) -> Plot | None:
    """Quality over bytes (log), each point with its interval; None for fewer than two points."""
    shown = [point for point in points if metric in point.metrics]
    if len(shown) < 2:
        return None
    x_axis = Axis.around([point.bytes for point in shown], log=True)
    qualities = [point.metrics[metric] for point in shown]
    ends = [bound for quality in qualities for bound in (quality.ci95 or (quality.mean,))]
    y_axis = Axis.around(ends)
    marks = [_mark(point, metric, x_axis, y_axis) for point in shown]
    best = max(shown, key=lambda point: point.metrics[metric].mean)
    smallest = min(shown, key=lambda point: point.bytes)
    title = f"{label(metric)} against bytes"
    return Plot(
        title,
        f"{title}, {len(shown)} models: {best.name} is the best with {size(best.bytes)}, "
        f"{smallest.name} the smallest with {size(smallest.bytes)}. The numbers are in the table below.",
        "Bytes of the model, log scale",
        label(metric),
        horizontal_ticks(x_axis, _tick),
        vertical_ticks(y_axis),
        [Line("front", _front([m for m, p in zip(marks, shown, strict=True) if p.on_front]))],
        _labelled(marks, shown),
        legend=[Key(role.replace("_", " "), role) for role in dict.fromkeys(point.role for point in shown)],
    )


def _tick(value: float) -> str:
    number, unit = size(value).split(" ")
    return f"{float(number):g} {unit}"


def _mark(point: ParetoPoint, metric: str, x_axis: Axis, y_axis: Axis) -> Mark:
    quality = point.metrics[metric]
    lines = [
        point.name,
        f"{label(metric)} {interval(quality.mean, quality.ci95)}",
        f"{size(point.bytes)}, {count(point.parameters)} parameters, {point.precision}",
    ]
    if point.latency_p50_ms is not None:
        lines.append(f"{milliseconds(point.latency_p50_ms)} a query (median)")
    whisker = None
    if quality.ci95 is not None:
        whisker = (y_axis.place_from_top(quality.ci95[0]), y_axis.place_from_top(quality.ci95[1]))
    spot = x_axis.place(point.bytes), y_axis.place_from_top(quality.mean)
    return Mark(*spot, point.role, "\n".join(lines), whisker)


def _front(marks: Sequence[Mark]) -> str:
    """Steps along the front: each quality holds until a larger model does better."""
    steps: list[tuple[float, float]] = []
    for mark in sorted(marks, key=lambda mark: mark.x):
        if steps:
            steps.append((mark.x, steps[-1][1]))
        steps.append((mark.x, mark.y))
    return path([*steps, (100.0, steps[-1][1])]) if steps else ""


def _labelled(marks: Sequence[Mark], points: Sequence[ParetoPoint]) -> list[Mark]:
    """Name the marks where there is room: distilled students of the front, teachers, and the rest of the front first.

    Tips and the table name the others.
    """

    def later(index: int) -> tuple[bool, bool, bool]:
        point = points[index]
        distilled = point.role == "distilled_student" and point.on_front
        return not distilled, point.role != "teacher", not point.on_front

    taken = [box for mark in marks for box in (_around(mark), _whisker(mark))]
    result = list(marks)
    for index in sorted(range(len(marks)), key=later):
        for side in SIDES:
            box = _beside(marks[index], points[index].name, side)
            inside = box[0] >= -8 and box[2] <= WIDTH + 8 and box[1] >= 0 and box[3] <= HEIGHT
            if inside and not any(_overlap(box, other) for other in taken):
                result[index] = replace(marks[index], label=points[index].name, side=side)
                taken.append(box)
                break
    return result


def _around(mark: Mark) -> Box:
    x, y = mark.x * WIDTH / 100, mark.y * HEIGHT / 100
    return x - 6, y - 6, x + 6, y + 6


def _whisker(mark: Mark) -> Box:
    x, (bottom, top) = mark.x * WIDTH / 100, mark.whisker or (mark.y, mark.y)
    return x - 2, top * HEIGHT / 100, x + 2, bottom * HEIGHT / 100


def _beside(mark: Mark, name: str, side: str) -> Box:
    x, y, width = mark.x * WIDTH / 100, mark.y * HEIGHT / 100, len(name) * LETTER
    _, top, _, bottom = _whisker(mark)
    lefts = {"right": x + 9, "left": x - 9 - width, "above right": x - 5, "below right": x - 5}
    lefts |= {"above left": x + 5 - width, "below left": x + 5 - width}
    left = lefts.get(side, x - width / 2)
    upper = top - 5 - LINE if "above" in side else bottom + 5 if "below" in side else y - LINE / 2
    return left, upper, left + width, upper + LINE


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
