"""Gini index: how unequally the lists share exposure out among the items."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilrec.metrics.lists import check_lists

__all__ = ["gini"]


def gini(lists: NDArray[np.integer[Any]], n_items: int, k: int) -> float:
    """Gini index of the items' appearances among the first k: 0 all alike, 1 - 1/N all on one item.

    Items that never appear count; a place counts the same wherever it stands in the list. 0 where all lists
    are empty.
    lists: (Q, K) item indices, best first, -1 for no item. n_items: N. k: cut-off, at most K.
    Source: sum_i (2i - N - 1) x_i / (N sum_i x_i), x ascending, i from 1 (Fleder and Hosanagar 2009).

    >>> gini(np.array([[0], [0]]), n_items=4, k=1), gini(np.array([[0, 1]]), n_items=2, k=2)
    (0.75, 0.0)
    """
    check_lists(lists, n_items, k)
    top = lists[:, :k]
    exposure = np.sort(np.bincount(top[top >= 0], minlength=n_items))
    weights = 2 * np.arange(1, n_items + 1) - n_items - 1
    return float(weights @ exposure / (n_items * max(1, exposure.sum())))
