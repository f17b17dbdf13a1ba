"""Ranks of values, ties sharing their middle rank."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["midranks"]


def midranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """(n,) float64: the rank of each value (n,) from 1, ascending; equal values share their mean rank.

    >>> midranks(np.array([10, 30, 10]))
    array([1.5, 3. , 1.5])
    """
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    middles: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[places]
    return middles
