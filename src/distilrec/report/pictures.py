"""The pictures of training and of slices, and the numbers beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from distilrec.report.numbers import label, number
from distilrec.report.parts import Arm, Curve, Role, Slice
from distilrec.report.plots import Plot, Series, line_plot
from distilrec.report.schema import Report
from distilrec.report.view import in_order

__all__ = ["TrainingRow", "loss_plots", "slice_arms", "slice_plot", "training_rows", "validation_plot"]


@dataclass(frozen=True)
class TrainingRow:
    """How one arm's training went, over its seeds."""

    arm: Arm
    seeds: int
    epochs: str
    best: str
    loss: str


def _roles(report: Report) -> dict[str, tuple[Role, int]]:
    """By arm: its role, and how many arms of that role come before it (the dash of its lines)."""
    seen: dict[Role, int] = {}
    roles = {}
    for arm in report.arms:
        roles[arm.name] = (arm.role, seen.get(arm.role, 0))
        seen[arm.role] = seen.get(arm.role, 0) + 1
    return roles


def _validation(curve: Curve) -> list[tuple[float, float]]:
    pairs = zip(curve.epochs, curve.validation, strict=True)
    return [(epoch, value) for epoch, value in pairs if value is not None]


def _mean_curve(curves: Sequence[Curve]) -> list[tuple[float, float]]:
    """The mean over seeds, in epochs that all of them validated."""
    known = [dict(_validation(curve)) for curve in curves]
    shared = sorted(set.intersection(*map(set, known)))
    return [(epoch, fmean(values[epoch] for values in known)) for epoch in shared]


def _by_arm(report: Report) -> dict[str, list[Curve]]:
    found = {
        arm.name: [curve for curve in report.curves if curve.arm == arm.name and curve.epochs] for arm in report.arms
    }
    return {name: curves for name, curves in found.items() if curves}


def validation_plot(report: Report) -> Plot | None:
    """Validation quality by epoch: each seed a faint line, their mean a clear one."""
    roles = _roles(report)
    series = []
    for arm, curves in _by_arm(report).items():
        role, dash = roles[arm]
        if len(curves) > 1:
            series += [Series(arm, role, _validation(curve), dash, faint=True) for curve in curves]
        series.append(Series(arm, role, _mean_curve(curves), dash))
    metric = label(report.validation_metric)
    return line_plot(f"{metric} on validation, by epoch", series, x_label="Epoch", y_label=metric)


def loss_plots(report: Report) -> list[Plot]:
    """The loss of each arm and its terms, under its first seed; scales differ between arms."""
    roles = _roles(report)
    plots = []
    for arm, (curve, *_) in _by_arm(report).items():
        terms = {"loss": curve.loss, **(curve.losses if len(curve.losses) > 1 else {})}
        series = [
            Series(label(name), roles[arm][0], list(zip(map(float, curve.epochs), values, strict=True)), dash)
            for dash, (name, values) in enumerate(terms.items())
        ]
        plot = line_plot(f"{arm}, seed {curve.seed}", series, x_label="Epoch", y_label="")
        plots += [plot] if plot else []
    return plots


def training_rows(report: Report) -> list[TrainingRow]:
    """How long each arm trained, and the best it reached on validation; means over seeds."""
    arms = {arm.name: arm for arm in report.arms}
    rows = []
    for name, curves in _by_arm(report).items():
        tops = [max(value for _, value in _validation(curve)) for curve in curves if _validation(curve)]
        best, loss = (number(fmean(values)) if values else "–" for values in (tops, [c.loss[-1] for c in curves]))
        lengths = [curve.epochs[-1] for curve in curves]
        rows.append(TrainingRow(arms[name], len(curves), _range(min(lengths), max(lengths)), best, loss))
    return rows


def _range(low: int, high: int) -> str:
    return str(low) if low == high else f"{low} to {high}"


def slice_plot(report: Report, cut: Slice) -> Plot | None:
    """The metric by group of queries: teacher, student alone and distilled students."""
    roles, series = _roles(report), []
    for arm in slice_arms(report, cut):
        if arm.role != "control":
            points = [(float(i), group.values.get(arm.name)) for i, group in enumerate(cut.bins)]
            series.append(Series(arm.name, arm.role, points, roles[arm.name][1]))
    return line_plot(
        f"{label(report.metric)} by {cut.by}",
        series,
        x_label=cut.by.capitalize(),
        y_label=label(report.metric),
        names=[group.label for group in cut.bins],
    )


def slice_arms(report: Report, cut: Slice) -> list[Arm]:
    """The arms that a slice has values for."""
    return [arm for arm in in_order(report.arms) if any(arm.name in group.values for group in cut.bins)]
