"""Approximate search among many items, by faiss."""

from __future__ import annotations

import importlib

import numpy as np
from numpy.typing import NDArray

from distilrec.errors import require
from distilrec.runtime.student import Student, Vectors

__all__ = ["LARGE", "Nearest"]

LARGE = 100_000  # items, from which on it is worth its memory; docs/sizing.md says how that was measured
POINTS = 40  # per cell, by which the cells are laid out


class Nearest:
    """Items in cells, of which a search looks through those that lie nearest to the query.

    The highest score is the smallest distance once each item has a coordinate more, sqrt(M^2 - |v|^2), M the largest
    length, and each query a 0 there (Bachrach et al., Speeding Up the Xbox Recommender System Using a Euclidean
    Transformation for Inner-Product Spaces, RecSys 2014). Those that are found are scored anew, so that what comes
    back has the scores of exact search. Holds a copy of the vectors, 4 bytes a number.

    student: whose items are searched.
    """

    def __init__(self, student: Student) -> None:
        require("faiss", "large", f"approximate search among {student.n_items:,} items")
        faiss = importlib.import_module("faiss")
        self.n_items = student.n_items
        points = _points(student)
        cells = int(2 ** np.round(np.log2(self.n_items) / 2))
        self._index = faiss.IndexIVFFlat(faiss.IndexFlatL2(points.shape[1]), points.shape[1], cells)
        some = np.random.default_rng(0).choice(self.n_items, min(self.n_items, POINTS * cells), replace=False)
        self._index.train(points[np.sort(some)])
        self._index.add(points)

    @property
    def cells(self) -> int:
        """Into which the items fall."""
        return int(self._index.nlist)

    @property
    def looked_through(self) -> int:
        """Cells that a search looks through; one at first."""
        return int(self._index.nprobe)

    def look_through(self, cells: int) -> None:
        """More find more, and take longer."""
        self._index.nprobe = cells

    def search(self, student: Student, hidden: Vectors, k: int) -> tuple[NDArray[np.int64], Vectors]:
        """Candidates (B, C), places of items, -1 where there are fewer, in no order; and their scores.

        student: the one that it was made for, or that one with items added, all of which are candidates.
        """
        more = np.array([0.0] if student.bias is None else [1.0, 0.0], np.float32)
        asked = np.concatenate([hidden, np.tile(more, (len(hidden), 1))], axis=1)
        _, found = self._index.search(asked, k)
        scores = np.matmul(student.vectors[found], hidden[:, :, None])[:, :, 0]
        added = hidden @ student.vectors[self.n_items :].T
        if student.bias is not None:
            scores += student.bias[found]
            added += student.bias[self.n_items :]
        scores[found < 0] = -np.inf
        behind = np.broadcast_to(np.arange(self.n_items, student.n_items), added.shape)
        return np.concatenate([found, behind], axis=1), np.concatenate([scores, added], axis=1)


def _points(student: Student) -> Vectors:
    """(N, D + 1), or with a bias (N, D + 2): where items lie."""
    parts = [student.vectors, *([] if student.bias is None else [student.bias[:, None]])]
    squares = sum((part * part).sum(1) for part in parts)
    return np.concatenate([*parts, np.sqrt(np.max(squares) - squares)[:, None]], axis=1).astype(np.float32)
