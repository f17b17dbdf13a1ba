"""F1 of a list: recall and precision in one number."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilrec.metrics.checks import check_hits

__all__ = ["f1"]


def f1(hits: NDArray[np.bool_], n_relevant: NDArray[np.integer[Any]], k: int) -> NDArray[np.float64]:
    """Harmonic mean of precision@k and recall@k of each query, in [0, 1]; 0 where both are 0.

    2PR / (P + R) with P = h / k and R = h / n is 2h / (k + n), which needs no case for 0.
    hits: (B, K) bool, best first. n_relevant: (B,). k: cut-off, at most K. Returns (B,) float64.

    >>> f1(np.array([[True, False, True]]), np.array([4]), 3)
    array([0.57142857])
    """
    check_hits(hits, n_relevant, k)
    values: NDArray[np.float64] = 2.0 * hits[:, :k].sum(axis=1) / (k + n_relevant)
    return values
