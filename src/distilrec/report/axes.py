"""Axes of pictures: where values lie, in percent, and which of them are labelled."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from distilrec.report.numbers import number

__all__ = ["Axis", "Span", "Tick", "horizontal_ticks", "spans", "ticks", "vertical_ticks"]


@dataclass(frozen=True)
class Axis:
    """A range, and whether it is laid out by logarithm.

    >>> Axis(1, 100, log=True).place(10)
    50.0
    """

    low: float
    high: float
    log: bool = False

    def place(self, value: float) -> float:
        """Percent of the way from low to high."""
        low, high, value = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return round(100 * (value - low) / (high - low), 3)

    def place_from_top(self, value: float) -> float:
        """The same for an axis that rises from the bottom; SVG counts from the top."""
        return round(100 - self.place(value), 3)

    @classmethod
    def around(cls, values: Sequence[float], *, log: bool = False, pad: float = 0.08) -> Axis:
        """A range that holds the values with a little room; from 0 where that is near."""
        low, high = min(values), max(values)
        if log:
            room = max((high / low) ** pad, 1.8)
            return cls(low / room, high * room, log=True)
        room = pad * (high - low) or 0.1 * abs(high) or 1.0
        return cls(0.0 if 0 <= low < (high - low) / 2 else low - room, high + room)


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis."""

    at: float
    label: str


@dataclass(frozen=True)
class Span:
    """A mean and its interval on a scale that the rows of a table share; percent."""

    low: float
    mid: float
    high: float


def ticks(axis: Axis, most: int = 6) -> list[float]:
    """Round values on an axis: multiples of 1, 2 or 5 times a power of ten, or decades of a log axis.

    >>> ticks(Axis(0.031, 0.094)), ticks(Axis(700, 2e6, log=True))
    ([0.04, 0.06, 0.08], [1000.0, 10000.0, 100000.0, 1000000.0])
    """
    if axis.log:
        first, last = math.floor(math.log10(axis.low)), math.ceil(math.log10(axis.high))
        for steps in ((1,), (1, 3), (1, 2, 3, 5, 7)):
            values = [step * 10.0**power for power in range(first, last + 1) for step in steps]
            inside = [value for value in values if axis.low <= value <= axis.high]
            if len(inside) >= 3:
                break
        return inside[:: math.ceil(len(inside) / most)] if inside else [axis.low, axis.high]
    power = 10.0 ** math.floor(math.log10((axis.high - axis.low) / most))
    step = next(power * m for m in (1, 2, 5, 10) if (axis.high - axis.low) / (power * m) <= most)
    first, last = math.ceil(axis.low / step - 1e-9), math.floor(axis.high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def horizontal_ticks(axis: Axis, text: Callable[[float], str] | None = None) -> list[Tick]:
    """Labelled places from left to right; `text` says how a value reads."""
    values = ticks(axis)
    return [Tick(axis.place(value), (text or _reading(values))(value)) for value in values]


def vertical_ticks(axis: Axis) -> list[Tick]:
    """Labelled places on an axis that rises from the bottom of the picture."""
    values = ticks(axis)
    return [Tick(axis.place_from_top(value), _reading(values)(value)) for value in values]


def _reading(values: Sequence[float]) -> Callable[[float], str]:
    """Numbers with as many decimals as tell the values apart."""
    step = min((b - a for a, b in itertools.pairwise(values)), default=1.0)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return lambda value: number(value, decimals)


def spans(rows: Sequence[tuple[float, tuple[float, float] | None]]) -> list[Span]:
    """Put means and intervals on one scale.

    >>> spans([(2.0, (1.0, 3.0)), (3.0, None)])[0]
    Span(low=4.0, mid=50.0, high=96.0)
    """
    bounds = [(low, mid, high) for mid, ci95 in rows for low, high in [ci95 or (mid, mid)]]
    ends = [value for row in bounds for value in row]
    low, high = min(ends), max(ends)
    width = (high - low) or 1.0
    return [Span(*(round(4 + 92 * (value - low) / width, 3) for value in row)) for row in bounds]
