"""The best items by score, in NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["top_k"]


def top_k(scores: NDArray[np.float32], k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The places (B, k) int32 of the k highest scores of each row, and these, best first; of equal ones the smaller.

    scores: (B, N), no NaN. k: in 1..N. What `ranking.top_k` does in torch.

    >>> top_k(np.array([[1, 3, 1, 3]], np.float32), 3)
    (array([[1, 3, 0]], dtype=int32), array([[3., 3., 1.]], dtype=float32))
    """
    n_items, every = scores.shape[1], np.arange(len(scores))[:, None]
    if k < n_items:
        places = np.argpartition(scores, n_items - k, axis=1)[:, n_items - k :]
    else:
        places = np.broadcast_to(np.arange(n_items), scores.shape)
    values = scores[every, places]  # take_along_axis is slower on few rows
    last = values.min(axis=1)
    # Where more items than were chosen score as the last one does, the smaller ones are to be chosen.
    tied = (scores >= last[:, None]).sum(axis=1) > k
    order = np.lexsort((places, -values), axis=1)
    items, values = places[every, order].astype(np.int32), values[every, order]
    for row in np.flatnonzero(tied):
        above = items[row][values[row] > last[row]]
        items[row, len(above) :] = np.flatnonzero(scores[row] == last[row])[: k - len(above)]
    return items, values
