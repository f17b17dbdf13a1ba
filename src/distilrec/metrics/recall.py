"""Recall: how many of the relevant items the list holds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilrec.metrics.checks import check_hits

__all__ = ["recall"]


def recall(hits: NDArray[np.bool_], n_relevant: NDArray[np.integer[Any]], k: int) -> NDArray[np.float64]:
    """Share of the relevant items among the first k, in [0, 1]; 0 where nothing is relevant.

    hits: (B, K) bool, best first. n_relevant: (B,). k: cut-off, at most K. Returns (B,) float64.
    Source: trec_eval's `recall`. Some recommender papers divide by min(k, n_relevant): this one doesn't.

    >>> recall(np.array([[True, False, True]]), np.array([4]), 2)
    array([0.25])
    """
    check_hits(hits, n_relevant, k)
    values: NDArray[np.float64] = hits[:, :k].sum(axis=1) / np.maximum(n_relevant, 1)
    return values
