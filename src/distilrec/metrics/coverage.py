"""Coverage: how much of the catalogue is ever recommended."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilrec.metrics.lists import check_lists

__all__ = ["coverage"]


def coverage(lists: NDArray[np.integer[Any]], n_items: int, k: int) -> float:
    """Share of the catalogue that stands among the first k of any list, in [0, 1].

    It grows with the number of queries: compare arms over the same queries only.
    lists: (Q, K) item indices, best first, -1 for no item. n_items: N. k: cut-off, at most K.
    Source: Herlocker et al. 2004, section 4.3.1 (catalogue coverage).

    >>> coverage(np.array([[0, 1], [1, -1]]), n_items=4, k=2)
    0.5
    """
    check_lists(lists, n_items, k)
    top = lists[:, :k]
    return float(len(np.unique(top[top >= 0])) / n_items)
