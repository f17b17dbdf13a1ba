"""Training batches: which queries, which items are to be found for them, and under which query number.

Query numbers name a query across stages, so that a soft label recorded once is found again in training: the
query "what came before the interaction at position m of the log" has number m, and "all of user u's training
history" has number M + u, where M is the size of the log's arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from distilrec.data.interactions import Interactions
from distilrec.scoring import Queries, Ragged

__all__ = [
    "Batch",
    "Batches",
    "PairBatches",
    "SequenceBatches",
    "UserBatches",
    "final_queries",
    "prefix_queries",
    "seen_at",
]

Array = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """P queries that a model encodes at once, and T items to be found for them.

    users: (b,) int64. histories: (b, L) int64, left-aligned and padded with -1, or None for models that look
    users up. places: (P,) int64, which of the b * L places (or b users) are queries.
    query_ids: (P,) int64. rows, items: (T,) int64, the query row and the item of each target.
    weights: (T,) float32. disliked_rows, disliked_items: (Q,) int64, explicit negative feedback, and its
    disliked_weights (Q,) float32.
    """

    users: Array
    histories: Array | None
    places: Array
    query_ids: Array
    rows: Array
    items: Array
    weights: NDArray[np.float32]
    disliked_rows: Array
    disliked_items: Array
    disliked_weights: NDArray[np.float32]


class Batches(Protocol):
    """A source of training batches: one pass over the data per call."""

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """All batches of one epoch, in an order drawn from `rng`."""
        ...


def final_queries(train: Interactions, known: NDArray[np.bool_] | None = None) -> tuple[Queries, Array]:
    """One query per user with a training history, at its end, and its query numbers.

    known: (U,) bool, users to ask for even if they have none.

    >>> queries, ids = final_queries(Interactions(Ragged.from_rows([[1, 0], [], [2]]), n_items=3))
    >>> queries.users, ids
    (array([0, 2], dtype=int32), array([3, 5]))
    """
    users = np.flatnonzero((train.histories.lengths > 0) | (False if known is None else known))
    return Queries(users.astype(np.int32), train.histories[users]), len(train.histories.values) + users


def _windows(train: Interactions, length: int) -> tuple[Array, Array, Array]:
    """Histories cut, from the end, into windows of at most `length` items: user, start, stop of each."""
    lengths = train.histories.lengths
    counts = -(-lengths // length)
    users = np.repeat(np.arange(train.n_users), counts)
    nth = np.arange(len(users)) - np.repeat(np.cumsum(counts) - counts, counts)
    stops = train.histories.stops[users] - nth * length
    return users, np.maximum(train.histories.starts[users], stops - length), stops


def prefix_queries(train: Interactions, length: int) -> tuple[Queries, Array]:
    """One query per place of each window of `length`, as in SequenceBatches, and its query number.

    A query's history begins where its window begins; all of the user's earlier items are masked.

    >>> queries, ids = prefix_queries(Interactions(Ragged.from_rows([[4, 1, 0]]), n_items=5), length=2)
    >>> [queries.histories[i : i + 1].flat()[1].tolist() for i in range(3)], ids
    ([[4], [1], [1, 0]], array([1, 2, 3]))
    """
    users, starts, stops = _windows(train, length)
    order = np.argsort(starts, kind="stable")
    users, starts, stops = users[order], starts[order], stops[order]
    rows, places = Ragged(starts, stops, train.histories.values).positions()
    owners = users[rows]
    histories = Ragged(starts[rows], places + 1, train.histories.values)
    seen = Ragged(train.histories.starts[owners], places + 1, train.histories.values)
    return Queries(owners.astype(np.int32), histories, seen), _query_ids(train, owners, places)


def seen_at(train: Interactions, query_ids: Array) -> Ragged:
    """What has been seen at each query, by its number: all of the user's items up to there.

    >>> train = Interactions(Ragged.from_rows([[4, 1, 0], [2]]), n_items=5)
    >>> seen_at(train, np.array([2, 4, 5])).flat()
    (array([0, 0, 1, 1, 1, 2]), array([4, 1, 4, 1, 0, 2], dtype=int32))
    """
    histories, m = train.histories, len(train.histories.values)
    last = np.minimum(query_ids, m) - 1  # rows that begin at one place are empty but for the last of them
    users = np.where(query_ids < m, np.searchsorted(histories.starts, last, side="right") - 1, query_ids - m)
    return Ragged(histories.starts[users], np.where(query_ids < m, query_ids, histories.stops[users]), histories.values)


def _query_ids(train: Interactions, users: Array, places: Array) -> Array:
    after = places + 1
    return np.where(after < train.histories.stops[users], after, len(train.histories.values) + users)


def _weights(train: Interactions, users: Array, positions: Array, half_life: float | None) -> NDArray[np.float32]:
    """Sample weight of the interactions at `positions`, halved with every `half_life` later interactions."""
    weights = np.ones(len(positions), np.float32) if train.weights is None else train.weights[positions]
    if half_life is not None:
        age = (train.histories.stops[users] - 1 - positions).astype(np.float32)
        weights = weights * np.exp2(-age / np.float32(half_life))
    return weights


def _disliked(disliked: Interactions | None, users: Array) -> tuple[Array, Array, NDArray[np.float32]]:
    """Place among the users, item and sample weight of each dislike, by user."""
    if disliked is None:
        empty = np.empty(0, np.int64)
        return empty, empty, np.empty(0, np.float32)
    rows, positions = disliked.histories[users].positions()
    items = disliked.histories.values[positions].astype(np.int64)
    return rows, items, _weights(disliked, users, positions, None)


@dataclass(frozen=True, eq=False)
class UserBatches:
    """A user is a query, and all that the user took is to be found; for models with user vectors.

    batch_size: users per batch. recency_half_life: in interactions of the same user; None weighs all alike. known:
    (U,) bool, users to ask for even if they have no history.
    """

    train: Interactions
    batch_size: int
    recency_half_life: float | None = None
    disliked: Interactions | None = None
    known: NDArray[np.bool_] | None = None

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """All users with a history, and those who are known, once, in random order."""
        users = rng.permutation(final_queries(self.train, self.known)[0].users.astype(np.int64))
        for begin in range(0, len(users), self.batch_size):
            yield self._batch(users[begin : begin + self.batch_size])

    def _batch(self, users: Array) -> Batch:
        rows, positions = self.train.histories[users].positions()
        items = self.train.histories.values[positions].astype(np.int64)
        weights = _weights(self.train, users[rows], positions, self.recency_half_life)
        places = np.arange(len(users))
        ids = len(self.train.histories.values) + users
        return Batch(users, None, places, ids, rows, items, weights, *_disliked(self.disliked, users))


@dataclass(frozen=True, eq=False)
class PairBatches:
    """Interactions of any users, each a target of its user's query; for pairwise and pointwise losses.

    batch_size: interactions per batch.
    """

    train: Interactions
    batch_size: int
    recency_half_life: float | None = None
    disliked: Interactions | None = None

    @cached_property
    def _flat(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        users, positions = self.train.flat()
        return users.astype(np.int32), positions.astype(np.int32)

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """All interactions once, in random order."""
        all_users, all_positions = self._flat
        order = rng.permutation(np.arange(len(all_users), dtype=np.int32))
        for begin in range(0, len(order), self.batch_size):
            chosen = np.sort(order[begin : begin + self.batch_size])  # which puts those of one user together
            owners, positions = all_users[chosen].astype(np.int64), all_positions[chosen].astype(np.int64)
            first = np.append(True, owners[1:] != owners[:-1])
            users, rows = owners[first], np.cumsum(first) - 1
            items = self.train.histories.values[positions].astype(np.int64)
            weights = _weights(self.train, owners, positions, self.recency_half_life)
            places = np.arange(len(users))
            ids = len(self.train.histories.values) + users
            yield Batch(users, None, places, ids, rows, items, weights, *_disliked(self.disliked, users))


@dataclass(frozen=True, eq=False)
class SequenceBatches:
    """Every place of a history is a query whose target is the next item; for models that read histories.

    length: L, the longest history read at once. batch_size: windows per batch. Windows of like length go into
    one batch, so little is padded; the last place of a history has no target, but may have a soft label.
    """

    train: Interactions
    length: int
    batch_size: int
    recency_half_life: float | None = None
    disliked: Interactions | None = None

    @cached_property
    def _cut(self) -> tuple[Array, Array, Array]:
        return _windows(self.train, self.length)

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """All windows once; batches in random order, windows of like length together."""
        _, starts, stops = self._cut
        lengths = (stops - starts).astype(np.float64)
        order = np.argsort(lengths * rng.uniform(0.8, 1.25, len(lengths)), kind="stable")
        first = np.arange(0, len(order), self.batch_size)
        for begin in rng.permutation(first):
            yield self._batch(order[begin : begin + self.batch_size])

    def _batch(self, windows: Array) -> Batch:
        users, starts, stops = (column[windows] for column in self._cut)
        inputs = Ragged(starts, stops, self.train.histories.values)
        width = int(inputs.lengths.max())
        owner, positions = inputs.positions()
        places = owner * width + positions - starts[owner]
        histories = np.full(len(windows) * width, -1, np.int64)
        histories[places] = inputs.values[positions]
        after = positions + 1
        rows = np.flatnonzero(after < self.train.histories.stops[users[owner]])
        targets = after[rows]
        weights = _weights(self.train, users[owner[rows]], targets, self.recency_half_life)
        items = inputs.values[targets].astype(np.int64)
        return Batch(
            users,
            histories.reshape(-1, width),
            places,
            _query_ids(self.train, users[owner], positions),
            rows,
            items,
            weights,
            *self._dislikes(users, stops, inputs.lengths),
        )

    def _dislikes(self, users: Array, stops: Array, lengths: Array) -> tuple[Array, Array, NDArray[np.float32]]:
        """A user's dislikes belong to the last place of the user's last window."""
        last = np.flatnonzero(stops == self.train.histories.stops[users])
        rows, items, weights = _disliked(self.disliked, users[last])
        return (np.cumsum(lengths) - 1)[last][rows], items, weights
