"""Lists of recommended items: their check, and the mean of an item's property over them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["check_lists", "list_mean"]


def check_lists(lists: NDArray[np.integer[Any]], n_items: int, k: int) -> None:
    """Raise ValueError unless lists is (Q, K) integer, with items in -1..n_items - 1, and 1 <= k <= K.

    >>> check_lists(np.array([[0, 7]]), 5, 2)
    Traceback (most recent call last):
    ValueError: metric: the lists hold items 0..7, but the catalogue has items 0..4 (-1 means no item)
    """
    if lists.ndim != 2 or not np.issubdtype(lists.dtype, np.integer):
        raise ValueError(f"metric: expected lists as (Q, K) integers, given shape {lists.shape} of {lists.dtype}")
    if not 1 <= k <= lists.shape[1]:
        raise ValueError(f"metric: the cut-off must lie in 1..{lists.shape[1]}, the length of the lists, given {k}")
    if lists.size > 0 and (lists.min() < -1 or lists.max() >= n_items):
        raise ValueError(
            f"metric: the lists hold items {lists.min()}..{lists.max()}, but the catalogue has items "
            f"0..{n_items - 1} (-1 means no item)"
        )


def list_mean(lists: NDArray[np.integer[Any]], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(Q,) float64: mean of values (N,) over the items of each list (Q, K) but -1; NaN for an empty list.

    >>> list_mean(np.array([[0, 1], [1, -1], [-1, -1]]), np.array([1.0, 3.0]))
    array([ 2.,  3., nan])
    """
    present = lists >= 0
    totals = np.where(present, values[lists], 0.0).sum(axis=1)
    counts = present.sum(axis=1)
    means = np.full(len(lists), np.nan)
    np.divide(totals, counts, out=means, where=counts > 0)
    return means
