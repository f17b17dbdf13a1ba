"""The teacher's best users of each item, built once from the factors of a store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distilrec.data import Batch, Interactions
from distilrec.errors import SoftLabelError
from distilrec.models import DotProductModel
from distilrec.ranking import queries_at_once, top_k
from distilrec.soft_labels import SoftLabels

__all__ = ["ItemLists", "encode_users", "item_lists"]

Array = NDArray[np.int64]

# Rows of a store whose hidden states are read at once; the lists beside them are read, too.
ROWS_AT_ONCE = 65_536


@dataclass(frozen=True, eq=False)
class ItemLists:
    """The teacher's best users of each item, those who took it left out.

    users: (N, K) int64, best first, -1 where there are no more. known: (U,) int64, ascending, all users whom the
    teacher was asked about. taken: int64, ascending, item * n_users + user for each of them who took an item, and then
    the largest integer.
    """

    users: Array
    known: Array
    taken: Array
    n_users: int

    def draw_others(self, items: Array, n: int, rng: np.random.Generator) -> tuple[Array, NDArray[np.bool_]]:
        """n users for each of the items (I,), drawn evenly, with replacement, from those known: (I, n), and a mask.

        The mask is False where the draw fell on a user who is listed or took the item.
        """
        users = self.known[rng.integers(0, len(self.known), (len(items), n))]
        keys = items[:, None] * self.n_users + users
        took = self.taken[np.searchsorted(self.taken, keys)] == keys
        listed = (users[:, :, None] == self.users[items][:, None, :]).any(2)
        return users, ~(took | listed)


def item_lists(labels: SoftLabels, log: Interactions, k: int) -> ItemLists:
    """The k best users of each item by the teacher's score, those who took the item in `log` left out.

    Scores come from the factors of the store, of kind `factored`, for users whose whole history was recorded (queries
    `final`); others aren't listed. It costs as many products as scoring all items for all of these users once, in
    blocks of items, and memory for their hidden states and the lists.
    Raises SoftLabelError where the store holds no such user.
    """
    users = np.flatnonzero(log.histories.lengths > 0)
    rows = labels.rows(len(log.histories.values) + users)
    known, rows = users[rows >= 0], rows[rows >= 0]
    if len(known) == 0:
        raise SoftLabelError(
            f"{labels.path}: holds no query at the end of a user's history, and so no users to list for an item; "
            "record the teacher with `queries: final`"
        )
    taken = _taken(log, known, labels.manifest.n_items)
    best = np.full((labels.manifest.n_items, k), -1, np.int64)
    for part, scores in _blocks(labels, log.n_users, known, rows, taken):
        values, places = top_k(scores, min(k, len(known)))
        best[part, : places.shape[1]] = np.where(values.isfinite().numpy(), known[places.numpy()], -1)
    return ItemLists(best, known, taken, log.n_users)


def encode_users(student: DotProductModel, users: Array) -> Tensor:
    """(U, D): the states of users (U,) int64 of a student that looks users up, with gradients."""
    none, unweighed = np.empty(0, np.int64), np.empty(0, np.float32)
    places = np.arange(len(users))
    return student.encode(Batch(users, None, places, places, none, none, unweighed, none, none, unweighed))


def _taken(log: Interactions, known: Array, n_items: int) -> Array:
    """`ItemLists.taken`."""
    is_known = np.zeros(log.n_users, np.bool_)
    is_known[known] = True
    owners, items = log.histories.flat()
    kept = is_known[owners] & (items < n_items)
    keys = np.sort(items[kept].astype(np.int64) * log.n_users + owners[kept])
    return np.append(keys, np.iinfo(np.int64).max)


def _blocks(
    labels: SoftLabels, n_users: int, known: Array, rows: Array, taken: Array
) -> Iterator[tuple[slice, Tensor]]:
    """Scores (items, U) of a block of items for all known users, without the item's bias, -inf for who took it."""
    parts = [rows[begin : begin + ROWS_AT_ONCE] for begin in range(0, len(rows), ROWS_AT_ONCE)]
    hidden = np.concatenate([labels.arrays(part)["hidden"].astype(np.float32) for part in parts])
    states, vectors = torch.from_numpy(hidden), torch.from_numpy(np.array(labels.item_vectors))
    size = queries_at_once(len(known))
    for begin in range(0, len(vectors), size):
        part = slice(begin, min(begin + size, len(vectors)))
        scores = vectors[part] @ states.T
        first, last = np.searchsorted(taken, [part.start * n_users, part.stop * n_users])
        items, users = np.divmod(taken[first:last], n_users)
        places = (items - begin) * len(known) + np.searchsorted(known, users)
        scores.view(-1).index_fill_(0, torch.from_numpy(places), -torch.inf)
        yield part, scores
