"""Average precision: the precision at each relevant item, averaged."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilrec.metrics.checks import check_hits

__all__ = ["average_precision"]


def average_precision(hits: NDArray[np.bool_], n_relevant: NDArray[np.integer[Any]], k: int) -> NDArray[np.float64]:
    """Sum over the hits in the first k of the precision at their rank, divided by n_relevant; in [0, 1].

    The mean over queries, taken elsewhere, is the MAP. As in trec_eval's `map_cut`, relevant items beyond k
    count in the divisor, so AP@k can't reach 1 when n_relevant > k; others divide by min(k, n_relevant).
    hits: (B, K) bool, best first. n_relevant: (B,). k: cut-off, at most K. Returns (B,) float64.

    >>> average_precision(np.array([[True, False, True]]), np.array([2]), 3)  # (1/1 + 2/3) / 2
    array([0.83333333])
    """
    check_hits(hits, n_relevant, k)
    top = hits[:, :k]
    precision_at_hits = np.where(top, top.cumsum(axis=1) / np.arange(1, k + 1), 0.0)
    values: NDArray[np.float64] = precision_at_hits.sum(axis=1) / np.maximum(n_relevant, 1)
    return values
