"""Hit rate: does the list hold anything relevant."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilrec.metrics.checks import check_hits

__all__ = ["hit_rate"]


def hit_rate(hits: NDArray[np.bool_], n_relevant: NDArray[np.integer[Any]], k: int) -> NDArray[np.float64]:
    """1 where one of the first k is relevant, else 0. With one relevant item per query it equals recall.

    hits: (B, K) bool, best first. n_relevant: (B,), checked only. k: cut-off, at most K.
    Returns (B,) float64.
    Source: trec_eval's `success`.

    >>> hit_rate(np.array([[False, True], [False, False]]), np.array([4, 1]), 2)
    array([1., 0.])
    """
    check_hits(hits, n_relevant, k)
    return np.asarray(hits[:, :k].any(axis=1), dtype=np.float64)
