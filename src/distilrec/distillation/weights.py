"""What each training query weighs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distilrec.data import Interactions

__all__ = ["query_weights"]


def query_weights(log: Interactions, query_ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """(P,): the sample weight of each query, by its number: that of the interaction which comes next.

    At the end of a user's history, and of a user who is looked up, it is the mean of the user's interactions, and 1
    where there are none. 1 throughout where the log has no weights.

    >>> from distilrec.scoring import Ragged
    >>> log = Interactions(Ragged.from_rows([[4, 1], [2]]), n_items=5, weights=np.array([1, 5, 2], np.float32))
    >>> query_weights(log, np.array([1, 3, 4]))  # before item 1, and both users at the end of their histories
    array([5., 3., 2.], dtype=float32)
    """
    if log.weights is None:
        return np.ones(len(query_ids), np.float32)
    m = len(log.histories.values)
    weights = log.weights[np.minimum(query_ids, m - 1)]
    at_end = query_ids >= m
    histories = log.histories[query_ids[at_end] - m]
    rows, positions = histories.positions()
    sums = np.bincount(rows, log.weights[positions], minlength=len(histories))
    weights[at_end] = np.where(histories.lengths > 0, sums / np.maximum(histories.lengths, 1), 1.0)
    return weights
