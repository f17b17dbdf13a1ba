"""What the metrics check before they count."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["check_hits", "check_pairs"]


def check_hits(hits: NDArray[np.bool_], n_relevant: NDArray[np.integer[Any]], k: int) -> None:
    """Raise ValueError unless hits is (B, K) bool, n_relevant is (B,) integer and 1 <= k <= K.

    >>> check_hits(np.zeros((2, 5), bool), np.array([1]), 5)
    Traceback (most recent call last):
    ValueError: metric: expected one number of relevant items for each of the 2 queries, given shape (1,)
    """
    if hits.ndim != 2 or hits.dtype != np.bool_:
        raise ValueError(f"metric: expected hits as (B, K) bool, given shape {hits.shape} of {hits.dtype}")
    if n_relevant.shape != hits.shape[:1] or not np.issubdtype(n_relevant.dtype, np.integer):
        raise ValueError(
            f"metric: expected one number of relevant items for each of the {len(hits)} queries, "
            f"given shape {n_relevant.shape}"
        )
    if not 1 <= k <= hits.shape[1]:
        raise ValueError(f"metric: the cut-off must lie in 1..{hits.shape[1]}, the length of the lists, given {k}")


def check_pairs(labels: NDArray[Any], scores: NDArray[np.floating[Any]]) -> None:
    """Raise ValueError unless labels (n,) are 0 or 1 (or bool), scores (n,) are finite, and n > 0.

    >>> check_pairs(np.array([0, 2]), np.array([0.1, 0.9]))
    Traceback (most recent call last):
    ValueError: metric: labels must be 0 or 1, given 2
    """
    if labels.ndim != 1 or labels.shape != scores.shape or len(labels) == 0:
        raise ValueError(
            f"metric: expected labels and scores of one shape (n,) with n > 0, given {labels.shape} and {scores.shape}"
        )
    odd = labels[(labels != 0) & (labels != 1)]
    if len(odd) > 0:
        raise ValueError(f"metric: labels must be 0 or 1, given {odd[0]}")
    if not np.isfinite(scores).all():
        raise ValueError("metric: a score is NaN or infinite; look for what the model couldn't read")
