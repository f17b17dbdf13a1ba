"""The interaction log, by user and in order of time, and what is known of its ids and items."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from distilrec.scoring import Ragged

if TYPE_CHECKING:
    from distilrec.data.content import Contents
    from distilrec.data.domains import Domains

__all__ = ["Dataset", "Ids", "Interactions"]

FEW = 1_000


@dataclass(frozen=True, eq=False)
class Ids:
    """The user's own ids (strings or integers), and their places 0..n-1.

    >>> ids = Ids(pl.Series(["b", "ü", "a"]))
    >>> ids.encode(["a", "?"]), ids.decode(np.array([1])).to_list()
    (array([ 2, -1], dtype=int32), ['ü'])
    """

    values: pl.Series

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def _places(self) -> pl.DataFrame:
        return pl.DataFrame({"id": self.values}).with_row_index("place")

    @cached_property
    def _place_of(self) -> dict[Any, int]:
        return {value: place for place, value in enumerate(self.values.to_list())}

    def encode(self, external: pl.Series | Sequence[Any] | NDArray[Any]) -> NDArray[np.int32]:
        """(n,) int32: the place of each external id, -1 where it is unknown."""
        given = pl.Series("id", external).cast(self.values.dtype, strict=False)
        if len(given) <= FEW:  # a join would hash all ids again, for each request that is served
            return np.array([self._place_of.get(value, -1) for value in given.to_list()], np.int32)
        joined = given.to_frame().join(self._places, on="id", how="left", maintain_order="left")
        return joined["place"].cast(pl.Int64).fill_null(-1).to_numpy().astype(np.int32)

    def decode(self, places: NDArray[np.integer[Any]]) -> pl.Series:
        """The external id at each place in [0, n)."""
        return self.values.gather(np.asarray(places, dtype=np.int64))


@dataclass(frozen=True, eq=False)
class Interactions:
    """Who took what, in order of time. Parts of a log (train, test) share its arrays.

    histories: row u holds the item indices of user u, oldest first; equal times keep the file's order.
    times, ratings, weights: (M,) parallel to ``histories.values``, or None. Times are int64 in the log's own
    unit (microseconds where the log held dates); a rating is what the user gave, a weight multiplies the loss.
    n_items: size of the catalogue N, which may hold items that nobody took.

    >>> log = Interactions(Ragged.from_rows([[0, 2], [2]]), n_items=3)
    >>> log.n_users, len(log), log.item_counts()
    (2, 3, array([1, 0, 2]))
    """

    histories: Ragged
    n_items: int
    times: NDArray[np.int64] | None = None
    ratings: NDArray[np.float32] | None = None
    weights: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return int(self.histories.lengths.sum())

    @property
    def n_users(self) -> int:
        """U, users without interactions included."""
        return len(self.histories)

    def flat(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """User index and position in the parallel arrays of each interaction, by user and time: (n,) each."""
        return self.histories.positions()

    def item_counts(self) -> NDArray[np.int64]:
        """(N,) int64: interactions per item."""
        return np.bincount(self.histories.flat()[1], minlength=self.n_items)

    def select(self, keep: NDArray[np.bool_]) -> Interactions:
        """The interactions whose position is marked; keep: (M,) bool, parallel to ``histories.values``.

        Where each user's part is contiguous in time, which it is for splits in time, nothing is copied.
        """
        rows, positions = self.flat()
        chosen = keep[positions]
        lengths = np.bincount(rows[chosen], minlength=self.n_users).astype(np.int64)
        kept = positions[chosen]
        ends = np.cumsum(lengths)
        begins = ends - lengths
        some = lengths > 0
        starts = self.histories.starts.copy()
        starts[some] = kept[begins[some]]
        stops = starts + lengths
        if np.array_equal(kept[ends[some] - 1] + 1, stops[some]):
            return replace(self, histories=Ragged(starts, stops, self.histories.values))
        return self.at(kept, lengths)

    def at(self, positions: NDArray[np.int64], lengths: NDArray[np.int64]) -> Interactions:
        """A copy of the interactions at some positions, one user's after the other's, so many of each: (U,)."""
        return Interactions(
            Ragged.from_lengths(lengths, self.histories.values[positions]),
            self.n_items,
            None if self.times is None else self.times[positions],
            None if self.ratings is None else self.ratings[positions],
            None if self.weights is None else self.weights[positions],
        )


@dataclass(frozen=True, eq=False)
class Dataset:
    """A log with its ids, and what is known of the items.

    interactions: what counts as liked or taken. negatives: what the user was shown to dislike (ratings under the
    threshold, or label 0), by the same users and items, or None.
    items: one row per item index in order, with at least the column `item`; `title` where known. None if
    nothing is known of the items. contents: by modality, what can be encoded of them.
    notes: what loading did, in sentences for the report. domains: which items belong together, where the log holds
    several domains.
    """

    name: str
    interactions: Interactions
    user_ids: Ids
    item_ids: Ids
    negatives: Interactions | None = None
    items: pl.DataFrame | None = None
    contents: Mapping[str, Contents] = field(default_factory=dict)
    notes: tuple[str, ...] = field(default=())
    domains: Domains | None = None

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change when any id, interaction, time, rating or weight changes."""
        digest = hashlib.sha256()
        for ids in (self.user_ids, self.item_ids):
            digest.update(ids.values.hash(seed=0).to_numpy().tobytes())
        for log in filter(None, (self.interactions, self.negatives)):
            _, positions = log.flat()
            digest.update(log.histories.lengths.tobytes())
            for values in (log.histories.values, log.times, log.ratings, log.weights):
                digest.update(b"-" if values is None else values[positions].tobytes())
        return digest.hexdigest()[:16]

    def titles(self, places: NDArray[np.integer[Any]]) -> list[str]:
        """A title for each item index, or its id where no title is known."""
        ids = [str(value) for value in self.item_ids.decode(places)]
        if self.items is None or "title" not in self.items.columns:
            return ids
        titles = self.items["title"].gather(np.asarray(places, dtype=np.int64)).to_list()
        return [title or external for title, external in zip(titles, ids, strict=True)]
