"""What is asked (queries) and who answers (the protocols Recommender, HiddenStates, DotProduct).

Shape letters, here and everywhere: B queries, C candidates, N items, K cut-off, L history length, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DotProduct", "HiddenStates", "Queries", "Ragged", "Recommender"]

Index: TypeAlias = slice | NDArray[np.integer[Any]] | NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Ragged:
    """Rows of different lengths over one shared array: row b is ``values[starts[b]:stops[b]]``.

    Rows may overlap, so every prefix of every history can be a row without a copy.

    starts, stops: (B,) int64. values: (M,) int32.

    >>> rows = Ragged.from_rows([[3, 1, 2], [], [5]])
    >>> rows.lengths
    array([3, 0, 1])
    >>> rows.padded(2, fill=-1)
    array([[ 1,  2],
           [-1, -1],
           [-1,  5]])
    """

    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    values: NDArray[np.int32]

    @classmethod
    def from_rows(cls, rows: list[list[int]]) -> Self:
        """Build from Python lists; meant for small inputs."""
        lengths = np.fromiter((len(row) for row in rows), dtype=np.int64, count=len(rows))
        values = np.fromiter((value for row in rows for value in row), dtype=np.int32)
        return cls.from_lengths(lengths, values)

    @classmethod
    def from_lengths(cls, lengths: NDArray[np.int64], values: NDArray[np.int32]) -> Self:
        """Build from consecutive rows: lengths (B,), values (sum of lengths,)."""
        stops = np.cumsum(lengths, dtype=np.int64)
        return cls(stops - lengths, stops, values)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: Index) -> Ragged:
        return Ragged(self.starts[index], self.stops[index], self.values)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(B,) int64: the length of each row."""
        return self.stops - self.starts

    def positions(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row number and position in `values` of each element, row by row: two arrays (T,) int64."""
        lengths = self.lengths
        rows = np.repeat(np.arange(len(self), dtype=np.int64), lengths)
        ends = np.cumsum(lengths)
        return rows, np.arange(len(rows), dtype=np.int64) + np.repeat(self.stops - ends, lengths)

    def flat(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Row number and value of each element, row by row: (T,) int64 and (T,) int32."""
        rows, positions = self.positions()
        return rows, self.values[positions]

    def padded(self, length: int, *, fill: int) -> NDArray[np.int64]:
        """(B, length) int64: the last `length` values of each row, right-aligned, `fill` before them."""
        positions = self.stops[:, None] + np.arange(-length, 0, dtype=np.int64)
        valid = positions >= self.starts[:, None]
        if len(self.values) == 0:
            return np.full(valid.shape, fill, dtype=np.int64)
        return np.where(valid, self.values[np.where(valid, positions, 0)], fill).astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Queries:
    """What we recommend for: a user, a history, or both.

    users: (B,) int32, -1 where the user is unknown to the model.
    histories: B rows of item indices, oldest first: what a model reads.
    seen: B rows of items to mask, where these are more than the history; None: the history.

    >>> queries = Queries(np.array([0, -1], np.int32), Ragged.from_rows([[4, 2], [7]]))
    >>> len(queries), queries[1:].histories.flat()[1]
    (2, array([7], dtype=int32))
    """

    users: NDArray[np.int32]
    histories: Ragged
    seen: Ragged | None = None

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, index: Index) -> Queries:
        seen = None if self.seen is None else self.seen[index]
        return Queries(self.users[index], self.histories[index], seen)

    @property
    def masked(self) -> Ragged:
        """B rows of items that must not be recommended."""
        return self.histories if self.seen is None else self.seen


@runtime_checkable
class Recommender(Protocol):
    """Anything that scores all items for queries: teachers and students alike."""

    @property
    def n_items(self) -> int:
        """Size of the catalogue, N."""
        ...

    @property
    def scores_are_logits(self) -> bool:
        """Whether softmax(score) is meant as a probability over items (EASE: no; a softmax model: yes)."""
        ...

    def score(self, queries: Queries) -> Tensor:
        """(B, N) float32: a score for each item, higher is better, all finite.

        The tensor is the caller's own: ranking writes its mask into it.
        """
        ...


@runtime_checkable
class HiddenStates(Protocol):
    """A model that shows what it makes of a query."""

    @property
    def width(self) -> int:
        """D, the width of the hidden state."""
        ...

    def hidden(self, queries: Queries) -> Tensor:
        """(B, D) float32."""
        ...


@runtime_checkable
class DotProduct(Recommender, HiddenStates, Protocol):
    """A model whose score is ``hidden(query) @ item_vectors().T + item_bias()``."""

    def item_vectors(self) -> Tensor:
        """(N, D) float32."""
        ...

    def item_bias(self) -> Tensor | None:
        """(N,) float32, or None."""
        ...
