"""Popularity of what is recommended, and how far it departs from what was there before."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilrec.metrics.lists import check_lists, list_mean
from distilrec.metrics.ranks import midranks

__all__ = ["popularity", "popularity_percentiles", "popularity_shift"]


def popularity_percentiles(item_counts: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """(N,) float64: share of the catalogue that is less popular than the item, equals as half; mean 0.5.

    item_counts: (N,) interactions per item in training.

    >>> popularity_percentiles(np.array([5, 0, 0, 9]))
    array([0.625, 0.25 , 0.25 , 0.875])
    """
    return (midranks(item_counts) - 0.5) / len(item_counts)


def popularity(lists: NDArray[np.integer[Any]], item_counts: NDArray[np.integer[Any]], k: int) -> NDArray[np.float64]:
    """Mean popularity percentile of the first k items, in (0, 1); NaN for an empty list.

    lists: (Q, K) item indices, -1 for no item. item_counts: (N,) interactions per item in training. k:
    cut-off, at most K. Returns (Q,) float64.

    >>> popularity(np.array([[3, 0], [1, -1]]), np.array([5, 0, 0, 9]), k=2)
    array([0.75, 0.25])
    """
    check_lists(lists, len(item_counts), k)
    return list_mean(lists[:, :k], popularity_percentiles(item_counts))


def popularity_shift(
    lists: NDArray[np.integer[Any]],
    references: NDArray[np.integer[Any]],
    item_counts: NDArray[np.integer[Any]],
    k: int,
) -> NDArray[np.float64]:
    """Popularity of the first k items minus that of the reference items, in (-1, 1); above 0: more popular.

    The references are the user's history (all of it, or its end), or the first k of the teacher's list. NaN
    where either is empty: leave these queries out of the mean.
    lists: (Q, K). references: (Q, L), whole rows are used. Both hold item indices, -1 for no item.
    item_counts: (N,). k: cut-off, at most K. Returns (Q,) float64.
    Source: after Abdollahpouri et al. 2019 (popularity lift), with percentiles for counts, and a difference
    for the ratio.

    >>> popularity_shift(np.array([[3]]), np.array([[0, 1]]), np.array([5, 0, 0, 9]), k=1)  # .875 - .4375
    array([0.4375])
    """
    if len(references) != len(lists):
        raise ValueError(
            f"popularity_shift: expected a reference for each of the {len(lists)} lists, given {len(references)}"
        )
    return popularity(lists, item_counts, k) - popularity(references, item_counts, references.shape[1])
