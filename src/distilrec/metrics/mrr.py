"""Reciprocal rank: how early the first relevant item comes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilrec.metrics.checks import check_hits

__all__ = ["mrr"]


def mrr(hits: NDArray[np.bool_], n_relevant: NDArray[np.integer[Any]], k: int) -> NDArray[np.float64]:
    """1 / rank of the first relevant item among the first k, ranks from 1; 0 where there is none.

    The mean over queries, taken elsewhere, is the MRR.
    hits: (B, K) bool, best first. n_relevant: (B,), checked only. k: cut-off, at most K.
    Returns (B,) float64.
    Source: trec_eval's `recip_rank`.

    >>> mrr(np.array([[False, True, True], [False, False, False]]), np.array([2, 1]), 3)
    array([0.5, 0. ])
    """
    check_hits(hits, n_relevant, k)
    top = hits[:, :k]
    values: NDArray[np.float64] = top.any(axis=1) / (1.0 + top.argmax(axis=1))
    return values
