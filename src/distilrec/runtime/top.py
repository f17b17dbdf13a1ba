"""The best items by score, in NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["top_k"]

FINITE = np.finfo(np.float32).min
BLOCK = 32  # items, of which the best one is looked at first
MANY = 8  # times as many candidates as items in a list


def top_k(scores: NDArray[np.float32], k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The places (B, k) int32 of the k highest scores of each row, and these, best first; of equal ones the smaller.

    scores: (B, N), no NaN; those of -inf are no candidates. k: in 1..N. Where fewer are left a row ends in places -1
    with score -inf; else it is what `ranking.top_k` does in torch. Among the best of each block of items the k-th is a
    lower bound of the k-th of all, so that few need to be sorted.

    >>> top_k(np.array([[1, 3, 1, 3]], np.float32), 3)
    (array([[1, 3, 0]], dtype=int32), array([[3., 3., 1.]], dtype=float32))
    """
    n_rows, n_items = scores.shape
    width = max(1, min(BLOCK, n_items // (4 * k)))
    n_blocks = n_items // width
    best = scores[:, : width * n_blocks].reshape(n_rows, width, n_blocks).max(1)
    bound = np.maximum(np.partition(best, n_blocks - k, axis=1)[:, n_blocks - k], FINITE)
    found = np.flatnonzero(scores >= bound[:, None])
    if len(found) > MANY * k * n_rows:  # equal scores, of which the first ones are enough
        last = np.partition(scores, n_items - k, axis=1)[:, n_items - k, None]
        above, equal = scores > last, (scores == last) & (last >= FINITE)
        found = np.flatnonzero(above | (equal & (equal.cumsum(1) <= k - above.sum(1, keepdims=True))))
    rows, places = np.divmod(found, n_items)
    values = scores.ravel()[found]
    order = np.lexsort((-values, rows))  # stable, and places ascend already
    rows, places, values = rows[order], places[order], values[order]
    rank = np.arange(len(rows)) - np.searchsorted(rows, np.arange(n_rows))[rows]
    chosen = rank < k
    items = np.full((n_rows, k), -1, np.int32)
    highest = np.full((n_rows, k), -np.inf, np.float32)
    items[rows[chosen], rank[chosen]] = places[chosen]
    highest[rows[chosen], rank[chosen]] = values[chosen]
    return items, highest
