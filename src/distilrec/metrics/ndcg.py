"""Normalised discounted cumulative gain, with gains of 0 and 1."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilrec.metrics.checks import check_hits

__all__ = ["ndcg"]


def ndcg(hits: NDArray[np.bool_], n_relevant: NDArray[np.integer[Any]], k: int) -> NDArray[np.float64]:
    """Discounted gain of the first k over that of a perfect list, in [0, 1]; 0 where nothing is relevant.

    A hit at rank r (from 1) gains 1 / log2(r + 1); the perfect list begins with min(n_relevant, k) hits.
    hits: (B, K) bool, best first. n_relevant: (B,). k: cut-off, at most K. Returns (B,) float64.
    Source: Jarvelin and Kekalainen 2002, with the discount of trec_eval's `ndcg_cut`.

    >>> ndcg(np.array([[False, True, False]]), np.array([1]), 3)  # 1 / log2(3)
    array([0.63092975])
    """
    check_hits(hits, n_relevant, k)
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discounts)[np.clip(n_relevant, 1, k) - 1]
    values: NDArray[np.float64] = (hits[:, :k] @ discounts) / ideal
    return values
