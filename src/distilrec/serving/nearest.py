"""Approximate search among many items, by faiss."""

from __future__ import annotations

import importlib
import logging

import numpy as np
from numpy.typing import NDArray

from distilrec.errors import require
from distilrec.evaluation.agreement import overlap
from distilrec.runtime.student import Student, Vectors

__all__ = ["LARGE", "Nearest"]

LARGE = 200_000  # items, from which on it is worth its memory; docs/speed.md says how that was measured
POINTS, K = 64, 10
_logger = logging.getLogger(__name__)


class Nearest:
    """Items in cells, of which a search looks through those that lie nearest to the query.

    The highest score is the smallest distance once each item has a coordinate more, sqrt(M^2 - |v|^2), M the largest
    length, and each query a 0 there (Bachrach et al., Speeding Up the Xbox Recommender System Using a Euclidean
    Transformation for Inner-Product Spaces, RecSys 2014). Vectors are looked through as bytes; those that are found
    are scored as they are, so that what comes back has the scores of exact search.

    student: whose items are searched. queries: (Q, D) of some that are asked of it, by which the number of cells is
    chosen. recall: of the ten best items, the share that they must find at least.
    """

    def __init__(self, student: Student, queries: Vectors, recall: float = 0.95) -> None:
        require("faiss", "large", f"approximate search among {student.n_items:,} items")
        self._faiss = importlib.import_module("faiss")
        self.n_items = student.n_items
        points = _points(student)
        cells = int(2 ** np.round(np.log2(2 * self.n_items**0.5)))
        kind = self._faiss.ScalarQuantizer.QT_8bit
        quantizer = self._faiss.IndexFlatL2(points.shape[1])
        self._index = self._faiss.IndexIVFScalarQuantizer(quantizer, points.shape[1], cells, kind)
        some = np.random.default_rng(0).choice(self.n_items, min(self.n_items, POINTS * cells), replace=False)
        self._index.train(points[np.sort(some)])
        self._index.add(points)
        self.recall = self._choose(student, queries, recall)
        told = (self.looked_through, self.cells, self.recall)
        _logger.info("%s of %s cells hold %.3f of the ten best items", *told)

    @property
    def cells(self) -> int:
        """Into which the items fall."""
        return int(self._index.nlist)

    @property
    def looked_through(self) -> int:
        """Cells that a search looks through."""
        return int(self._index.nprobe)

    def search(self, student: Student, hidden: Vectors, k: int) -> tuple[NDArray[np.int64], Vectors]:
        """Candidates (B, C), places of items, -1 where there are fewer, in no order; and their scores.

        student: the one that it was made for, or that one with items added, all of which are candidates.
        """
        behind = [0.0] if student.bias is None else [1.0, 0.0]
        asked = np.concatenate([hidden, np.tile(np.array(behind, np.float32), (len(hidden), 1))], axis=1)
        _, found = self._index.search(asked, 2 * k)  # by bytes the order isn't the last word
        added = np.broadcast_to(np.arange(self.n_items, student.n_items), (len(hidden), student.n_items - self.n_items))
        places: NDArray[np.int64] = np.concatenate([found, added], axis=1)
        scores = np.matmul(student.vectors[places], hidden[:, :, None])[:, :, 0]
        if student.bias is not None:
            scores += student.bias[places]
        scores[places < 0] = -np.inf
        return places, scores

    def _choose(self, student: Student, queries: Vectors, recall: float) -> float:
        """Look through twice as many cells until enough is found."""
        expected = np.concatenate([_best(student.scores(query[None]), None) for query in queries])
        self._index.nprobe = 1
        while True:
            places, scores = self.search(student, queries, K)
            found = float(overlap(_best(scores, places), expected, K).mean())
            if found >= recall or self._index.nprobe >= self._index.nlist:
                return found
            self._index.nprobe *= 2


def _points(student: Student) -> Vectors:
    """(N, D + 1), or with a bias (N, D + 2): where items lie."""
    parts = [student.vectors, *([] if student.bias is None else [student.bias[:, None]])]
    squares = sum((part * part).sum(1) for part in parts)
    return np.concatenate([*parts, np.sqrt(np.max(squares) - squares)[:, None]], axis=1).astype(np.float32)


def _best(scores: Vectors, places: NDArray[np.int64] | None) -> NDArray[np.int64]:
    order = np.argsort(-scores, axis=1, kind="stable")[:, :K]
    return order if places is None else np.take_along_axis(places, order, axis=1)
