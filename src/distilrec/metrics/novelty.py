"""Novelty: how surprising the recommended items are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilrec.metrics.lists import check_lists, list_mean

__all__ = ["novelty"]


def novelty(lists: NDArray[np.integer[Any]], item_counts: NDArray[np.integer[Any]], k: int) -> NDArray[np.float64]:
    """Mean self-information of the first k items, -log2 p(item), in bits; NaN for an empty list.

    p is the item's share of the training interactions. An item without interactions counts as having one,
    since its self-information would be infinite.
    lists: (Q, K) item indices, -1 for no item. item_counts: (N,) interactions per item in training. k:
    cut-off, at most K. Returns (Q,) float64.
    Source: Vargas and Castells 2011 (MSI). Zhou et al. 2010 divide by users, this divides by interactions.

    >>> novelty(np.array([[0, 1]]), np.array([6, 2]), k=2)  # (-log2 6/8 - log2 2/8) / 2
    array([1.20751875])
    """
    check_lists(lists, len(item_counts), k)
    information = -np.log2(np.maximum(item_counts, 1) / max(1, item_counts.sum()))
    return list_mean(lists[:, :k], information)
