"""What a bundle's student answers: vectors of queries, scores, top lists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from distilrec.errors import ArtefactError, DataError
from distilrec.runtime.graph import Graph
from distilrec.runtime.manifest import QUERY, TOWER
from distilrec.runtime.top import top_k
from distilrec.scoring import Queries
from distilrec.weights import decode

__all__ = ["WEIGHTS", "Student"]

Vectors = NDArray[np.float32]
WEIGHTS = "model.safetensors"
VALUES = 2**22  # of scores at once: 16 MB
PLACES = 25_600  # of histories read at once


@dataclass(frozen=True, eq=False)
class Student:
    """score = query . item + bias; the query's vector is read from the history by a graph, or looked up by its user.

    vectors: (N, D) float32. bias: (N,) or None. users: (U, D) of one that looks users up, the mean being what it knows
    of others; else None, and `query` and `history_length` say how it reads histories. tower: places new items by their
    content, whose widths are `content`; None where items are known by their ids alone.
    """

    vectors: Vectors
    bias: Vectors | None
    users: Vectors | None = None
    query: Graph | None = None
    history_length: int = 0
    tower: Graph | None = None
    content: Mapping[str, int] | None = None

    @classmethod
    def load(cls, folder: Path, history_length: int, content: Mapping[str, int]) -> Student:
        """Read the student of a bundle; raises ArtefactError where its files don't fit together."""
        path = folder / WEIGHTS
        try:
            state = decode(load_file(path))
            vectors, bias, users = (_floats(state, name) for name in ("items", "bias", "users"))
        except (OSError, SafetensorError, KeyError, ValueError, IndexError, TypeError) as error:
            raise ArtefactError(f"{path} can't be read: {error}; export the bundle again") from error
        if vectors is None or vectors.ndim != 2 or not np.isfinite(vectors).all():
            raise ArtefactError(f"{path}: expected finite item vectors (N, D); export the bundle again")
        wrong = bias is not None and (bias.shape != vectors.shape[:1] or not np.isfinite(bias).all())
        wrong = wrong or (users is not None and not np.isfinite(users).all())
        if wrong or (users is not None and (users.ndim != 2 or users.shape[1] != vectors.shape[1])):
            raise ArtefactError(f"{path}: bias or users don't fit item vectors {vectors.shape}; export it again")
        if users is None and history_length < 1:
            raise ArtefactError(f"{path} has no users, and the bundle reads no histories; export it again")
        query = None if users is not None else Graph(folder / QUERY)
        if query is not None and query.inputs.get("vectors", [])[-1:] != [vectors.shape[1]]:
            raise ArtefactError(f"{folder / QUERY} doesn't read vectors of width {vectors.shape[1]}; export it again")
        tower = Graph(folder / TOWER) if content else None
        student = cls(vectors, bias, users, query, history_length, tower, content or None)
        student._try(folder)
        return student

    def _try(self, folder: Path) -> None:
        """Ask each graph once; ArtefactError where it doesn't answer in numbers of the right shape."""
        width = self.vectors.shape[1]
        asked: dict[str, NDArray[Any]] = {
            "vectors": np.zeros((2, 1, width), np.float32),
            "lengths": np.ones(2, np.int64),
        }
        given: dict[str, NDArray[Any]] = {"known": np.ones((2, len(self.content or ())), np.float32)}
        given |= {f"content_{name}": np.zeros((2, each), np.float32) for name, each in (self.content or {}).items()}
        for graph, name, example, wide in (
            (self.query, QUERY, asked, width),
            (self.tower, TOWER, given, width + (self.bias is not None)),
        ):
            try:
                answer = None if graph is None else graph(example)
            except Exception as error:  # those of onnxruntime share no other base
                raise ArtefactError(f"{folder / name} can't be run: {error}; export the bundle again") from error
            if answer is not None and (answer.shape != (2, wide) or not np.isfinite(answer).all()):
                raise ArtefactError(f"{folder / name} doesn't give numbers (2, {wide}); export the bundle again")

    @property
    def n_items(self) -> int:
        """N."""
        return len(self.vectors)

    @property
    def reads_histories(self) -> bool:
        """Whether it answers from a history; else it looks users up."""
        return self.users is None

    def hidden(self, queries: Queries, last: Vectors | None = None) -> Vectors:
        """(B, D) float32: a vector per query; zeros for an empty history.

        last: (B, D) of something that each has taken last and that is no item, such as a search text.
        """
        if self.users is not None:
            return _looked_up(self.users, queries.users)
        assert self.query is not None  # it reads histories
        rows, extra = queries.histories, int(last is not None)
        most = self.history_length - extra
        starts = np.maximum(rows.starts, rows.stops - most)
        lengths = rows.stops - starts
        found = np.zeros((len(queries), self.vectors.shape[1]), np.float32)
        asked = np.flatnonzero(lengths + extra > 0)
        asked = asked[np.argsort(lengths[asked], kind="stable")]  # those of like length together: little padding
        begin = 0
        while begin < len(asked):
            end = min(len(asked), begin + max(1, PLACES // self.history_length))
            part = asked[begin:end]
            width = int(lengths[part[-1]]) + extra
            places = starts[part, None] + np.arange(width)
            inside = places < rows.stops[part, None]
            items = np.where(inside, rows.values[np.minimum(places, len(rows.values) - 1)], 0) if width > extra else 0
            read = np.broadcast_to(self.vectors[items], (len(part), width, self.vectors.shape[1]))
            if last is not None:
                read = read.copy()
                read[np.arange(len(part)), lengths[part]] = last[part]
            found[part] = self.query({"vectors": np.ascontiguousarray(read), "lengths": lengths[part] + extra})
            begin = end
        return found

    def scores(self, hidden: Vectors) -> Vectors:
        """(B, N) float32, of vectors of queries (B, D)."""
        return _scores(hidden, self.vectors, self.bias)

    def rank(
        self,
        queries: Queries,
        k: int,
        *,
        filter_seen: bool = True,
        allowed: NDArray[np.int32] | None = None,
        last: Vectors | None = None,
    ) -> tuple[NDArray[np.int32], Vectors]:
        """The k best items (B, k) int32 of each query, and their scores, best first, ties by place.

        filter_seen: leave out what the query has taken. allowed: places of the items that may come. last: as in
        `hidden`. Where fewer are left, a list ends in items -1 with score -inf.
        """
        vectors, bias = self.vectors, self.bias
        if allowed is not None:
            allowed = np.unique(allowed)
            vectors, bias = vectors[allowed], None if bias is None else bias[allowed]
        items = np.full((len(queries), k), -1, np.int32)
        values = np.full((len(queries), k), -np.inf, np.float32)
        hidden, most = self.hidden(queries, last), min(k, len(vectors))
        rows = max(1, VALUES // max(1, len(vectors)))
        for begin in range(0, len(queries) if most else 0, rows):
            part = slice(begin, min(begin + rows, len(queries)))
            scores = _scores(hidden[part], vectors, bias)
            if filter_seen:
                _mask(scores, queries[part], allowed)
            chosen, values[part, :most] = top_k(scores, most)
            items[part, :most] = chosen if allowed is None else np.where(chosen < 0, -1, allowed[chosen])
        return items, values

    def placed(self, features: Mapping[str, NDArray[np.floating[Any]]], n: int) -> Vectors:
        """(n, D) vectors of things that are no items yet, and their bias behind where there is one.

        features: vectors (n, D_m) of some modalities; rows with NaN aren't known. Raises DataError where the student
        knows items by their ids alone, on a modality that it doesn't read, and on vectors of another shape.
        """
        if self.tower is None or self.content is None:
            raise DataError(
                "this student knows items by their ids alone, so it can't take new ones; distil one whose model names "
                "content"
            )
        for name, given in features.items():
            width = self.content.get(name)
            if width is None:
                raise DataError(
                    f"new items: no content is called {name!r}; this student reads {', '.join(self.content)}"
                )
            if np.shape(given) != (n, width):
                raise DataError(
                    f"new items: vectors of {name!r} have the shape {np.shape(given)}, expected ({n}, {width}); give "
                    "what the encoder of that content makes"
                )
        read, known = {}, np.zeros((n, len(self.content)), np.float32)
        for place, (name, width) in enumerate(self.content.items()):
            vectors = np.asarray(features.get(name, np.full((n, width), np.nan)), np.float32)
            known[:, place] = np.isfinite(vectors).all(1)
            read[f"content_{name}"] = np.nan_to_num(vectors, nan=0.0, posinf=0.0, neginf=0.0)
        return self.tower({"known": known, **read})

    def extended(self, features: Mapping[str, NDArray[np.floating[Any]]], n: int) -> Student:
        """The same student with n items more, placed by their content; raises as `placed`."""
        rows, width = self.placed(features, n), self.vectors.shape[1]
        if not np.isfinite(rows).all():
            raise DataError("new items: their vectors are too large to be placed; give what the encoder makes")
        bias = None if self.bias is None else np.concatenate([self.bias, rows[:, width]])
        return replace(self, vectors=np.concatenate([self.vectors, rows[:, :width]]), bias=bias)


def _scores(hidden: Vectors, vectors: Vectors, bias: Vectors | None) -> Vectors:
    scores: Vectors = hidden @ vectors.T
    if bias is not None:
        scores += bias
    return scores


def _floats(state: Mapping[str, NDArray[Any]], name: str) -> Vectors | None:
    return None if name not in state else np.ascontiguousarray(state[name], dtype=np.float32)


def _looked_up(users: Vectors, places: NDArray[np.int32]) -> Vectors:
    """(B, D): the vectors of users (U, D) at places (B,), and where one is below 0, their mean."""
    found = users[np.maximum(places, 0)]
    unknown = places < 0
    if unknown.any():
        found[unknown] = users.mean(0)
    return found


def _mask(scores: Vectors, queries: Queries, allowed: NDArray[np.int32] | None) -> None:
    """Take what was taken out of scores (B, N), whose columns are the allowed items, in place."""
    rows, items = queries.masked.flat()
    if allowed is not None:
        columns = np.minimum(np.searchsorted(allowed, items), len(allowed) - 1)
        inside = allowed[columns] == items
        rows, items = rows[inside], columns[inside]
    scores[rows, items] = -np.inf
