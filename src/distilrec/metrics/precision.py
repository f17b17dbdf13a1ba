"""Precision: how much of the list is relevant."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilrec.metrics.checks import check_hits

__all__ = ["precision"]


def precision(hits: NDArray[np.bool_], n_relevant: NDArray[np.integer[Any]], k: int) -> NDArray[np.float64]:
    """Share of relevant items among the first k, in [0, 1]; a shorter list counts as filled with misses.

    hits: (B, K) bool, best first. n_relevant: (B,), checked only. k: cut-off, at most K.
    Returns (B,) float64.
    Source: trec_eval's `P`.

    >>> precision(np.array([[True, False, True]]), np.array([4]), 2)
    array([0.5])
    """
    check_hits(hits, n_relevant, k)
    values: NDArray[np.float64] = hits[:, :k].sum(axis=1) / np.float64(k)
    return values
