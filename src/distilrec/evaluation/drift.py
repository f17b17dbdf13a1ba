"""How far new interactions depart from those that models were trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["distance_by_chance", "jensen_shannon", "unpaired"]

DRAWS = 20

Counts = NDArray[np.integer[Any]]


def jensen_shannon(a: Counts, b: Counts) -> float:
    """Distance of two item distributions, given as counts (N,), in [0, 1]; 0 for equal, 1 for disjoint ones.

    Source: Endres and Schindelin 2003: the square root of the Jensen-Shannon divergence, in bits.

    >>> jensen_shannon(np.array([3, 1]), np.array([6, 2])), jensen_shannon(np.array([3, 0]), np.array([0, 1]))
    (0.0, 1.0)
    """
    p, q = a / a.sum(), b / b.sum()
    middle = (p + q) / 2
    bits = [x[x > 0] @ np.log2(x[x > 0] / middle[x > 0]) for x in (p, q)]
    return float(np.sqrt(max(0.0, sum(bits) / 2)))


def distance_by_chance(counts: Counts, size: int, rng: np.random.Generator) -> float:
    """The Jensen-Shannon distance that `size` interactions have from `counts` (N,) when nothing has changed.

    Few draws from a long tail lie far from it: the mean over 20 samples of that size says how far.

    >>> round(distance_by_chance(np.array([1, 1]), 10_000, np.random.default_rng(0)), 2)
    0.0
    """
    drawn = rng.multinomial(size, counts / counts.sum(), size=DRAWS)
    return float(np.mean([jensen_shannon(counts, sample) for sample in drawn]))


def unpaired(
    before: tuple[float, float], now: tuple[float, float], means: tuple[float, float]
) -> tuple[float, tuple[float, float]]:
    """now - before, and its 95 % interval, for means over different queries.

    before, now: 95 % intervals. means: of before and now. The half widths add up in squares, as standard errors of
    independent means do.

    >>> difference, interval = unpaired((0.07, 0.13), (0.03, 0.11), (0.1, 0.07))
    >>> round(difference, 3), [round(bound, 3) for bound in interval]
    (-0.03, [-0.08, 0.02])
    """
    half = float(np.hypot(before[1] - before[0], now[1] - now[0])) / 2
    difference = means[1] - means[0]
    return difference, (difference - half, difference + half)
