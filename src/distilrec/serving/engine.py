"""Answers of one bundle, several queries at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from distilrec.errors import DataError
from distilrec.runtime import Served
from distilrec.runtime.top import top_k
from distilrec.scoring import Queries, Ragged
from distilrec.serving.nearest import Nearest
from distilrec.serving.requests import Item, Query
from distilrec.serving.state import Id

__all__ = ["Ask", "Engine"]

VALUES = 2**22  # of scores at once: 16 MB
NEAR_K, NEAR_HIDDEN = (
    20,
    1_000,
)  # the longest lists, and the most items left out of them, that few candidates suffice for
NEAR_AT_ONCE = 64
_logger = logging.getLogger("distilrec.serving")
QUERIES = 200  # by which approximate search is measured
Vectors: TypeAlias = NDArray[np.float32]
Places: TypeAlias = NDArray[np.integer[Any]]
_Best: TypeAlias = Callable[[Sequence["Ask"], Vectors, Places, Places], tuple[Places, Vectors]]


class Ask(msgspec.Struct, frozen=True):
    """A query in places.

    filter_seen: the history must not come back, as `denied` mustn't. allowed: (N,) bool, or None for all. last: (D,)
    what was searched for, read as an item just taken, or None.
    """

    user: int
    history: Sequence[int]
    k: int
    filter_seen: bool
    denied: Sequence[int]
    allowed: NDArray[np.bool_] | None = None
    last: NDArray[np.float32] | None = None

    @property
    def can_be_near(self) -> bool:
        """Whether it can be answered from a few candidates."""
        return self.allowed is None and self.k <= NEAR_K and len(self.history) + len(self.denied) <= NEAR_HIDDEN


class Engine:
    """What a bundle answers. It doesn't change: a new item, or a new bundle, is a new engine.

    nearest: finds candidates among so many items that to score all of them takes long; None scores all of them.
    """

    def __init__(self, served: Served, nearest: Nearest | None = None) -> None:
        self.served, self.nearest = served, nearest

    @classmethod
    def near(cls, served: Served, recall: float) -> Engine:
        """One that looks through as many cells as it takes to find that share of the best items; where all of them
        don't suffice, or there are no held-out queries to measure it by, one that scores all items."""
        exact, queries = cls(served), served.held_out().queries[:QUERIES]
        if len(queries) == 0:
            return exact
        rows = (queries.histories[n : n + 1].flat()[1].tolist() for n in range(len(queries)))
        asks = [Ask(user, row, NEAR_K, True, ()) for user, row in zip(queries.users.tolist(), rows, strict=True)]
        best = [{item.item for item in items} for items in exact.answer(asks)]
        nearest = Nearest(served.student)
        engine, cells = cls(served, nearest), 1
        while cells <= nearest.cells:
            nearest.look_through(cells)
            found = [
                [item.item in expected for item in items]
                for items, expected in zip(engine.answer(asks), best, strict=True)
            ]
            share = sum(map(sum, found)) / max(1, sum(map(len, best)))
            if share >= recall:
                told = (cells, nearest.cells, share, NEAR_K)
                _logger.info("%s of %s cells hold %.3f of the %s best items", *told)
                return engine
            cells *= 2
        _logger.warning("scoring all items: fewer don't hold %s of the best ones", recall)
        return exact

    def ask(self, query: Query, clicked: Sequence[Id], last: NDArray[np.float32] | None = None) -> Ask:
        """The query in places. clicked: what its user or session took since the bundle was made. last: its text, as
        `Served.read` gives it.

        Raises DataError on a query of nobody that is known and nothing else, and on ids and attributes that there
        aren't in a filter. Items of a history that aren't known are left out.
        """
        served = self.served
        user = -1 if query.user is None else served.users.place(query.user)
        told = clicked if query.history is None else query.history
        history = served.items.known(told)
        if query.history is None and user >= 0:
            again = set(history)  # what was taken again, or clicked before the bundle was trained on it
            history = [item for item in self._taken(user) if item not in again] + history
        if query.user is None and query.session is None and query.history is None and last is None:
            raise DataError("give a user, a session, a history or a text")
        if not served.student.reads_histories and user < 0:
            whom = "sessions and histories are" if query.user is None else f"{query.user!r} is"
            raise DataError(
                f"a {served.manifest.student.model} knows the users of its training log, and {whom} none of them; "
                "serve a student that reads histories"
            )
        denied = [self._item(item) for item in query.deny or ()]
        return Ask(user, history, query.k, query.filter_seen, denied, self._allowed(query), last)

    def answer(self, asks: Sequence[Ask]) -> list[list[Item]]:
        """The best items of each."""
        near = [row for row, ask in enumerate(asks) if self.nearest is not None and ask.can_be_near]
        found = dict(zip(near, self._by_parts([asks[row] for row in near], self._near, NEAR_AT_ONCE), strict=True))
        # Where what lies near was taken or denied, the rest is looked at, too.
        exact = [row for row, ask in enumerate(asks) if len(found.get(row, ())) < ask.k]
        at_once = max(1, VALUES // len(self.served.items))
        found |= zip(exact, self._by_parts([asks[row] for row in exact], self._exact, at_once), strict=True)
        return [found[row] for row in range(len(asks))]

    def _by_parts(self, asks: Sequence[Ask], best: _Best, at_once: int) -> Iterator[list[Item]]:
        for begin in range(0, len(asks), at_once):
            yield from self._answer(asks[begin : begin + at_once], best)

    def _answer(self, asks: Sequence[Ask], best: _Best) -> list[list[Item]]:
        ids, titles = self.served.items.values, self.served.titles
        lengths = np.array([len(ask.history) for ask in asks], np.int64)
        taken = np.fromiter(chain.from_iterable(ask.history for ask in asks), np.int32, int(lengths.sum()))
        users = np.array([ask.user for ask in asks], np.int32)
        hidden = self._hidden(asks, Queries(users, Ragged.from_lengths(lengths, taken)))
        hides = np.repeat([ask.filter_seen for ask in asks], lengths)
        rows, places = np.repeat(np.arange(len(asks)), lengths)[hides], taken[hides]
        if any(ask.denied for ask in asks):
            rows = np.concatenate([rows, np.repeat(np.arange(len(asks)), [len(ask.denied) for ask in asks])])
            places = np.concatenate([places, np.array([item for ask in asks for item in ask.denied], np.int32)])
        items, scores = best(asks, hidden, rows, places)
        left = np.minimum((items >= 0).sum(axis=1), [ask.k for ask in asks])
        return [
            list(map(Item, map(ids.__getitem__, row[:n]), map(titles.__getitem__, row[:n]), values))
            for row, values, n in zip(items.tolist(), scores.tolist(), left.tolist(), strict=True)
        ]

    def _exact(self, asks: Sequence[Ask], hidden: Vectors, rows: Places, hides: Places) -> tuple[Places, Vectors]:
        """The best of all items, but for `hides` of queries `rows`."""
        student = self.served.student
        scores = student.scores(hidden)
        scores[rows, hides] = -np.inf
        for row, ask in enumerate(asks):
            if ask.allowed is not None:
                scores[row, ~ask.allowed] = -np.inf
        return top_k(scores, min(max(ask.k for ask in asks), student.n_items))

    def _near(self, asks: Sequence[Ask], hidden: Vectors, rows: Places, hides: Places) -> tuple[Places, Vectors]:
        """The best of those that lie near: as many candidates as are asked for and may be hidden."""
        assert self.nearest is not None
        n_items, wanted = self.served.student.n_items, max(ask.k for ask in asks)
        most = max(ask.k + len(ask.history) + len(ask.denied) for ask in asks)
        found, scores = self.nearest.search(self.served.student, hidden, most)
        scores[np.isin(found + n_items * np.arange(len(asks))[:, None], hides + n_items * rows)] = -np.inf
        order, best = top_k(scores, min(wanted, scores.shape[1]))
        return np.where(order < 0, -1, np.take_along_axis(found, order, axis=1)), best

    def _hidden(self, asks: Sequence[Ask], queries: Queries) -> NDArray[np.float32]:
        """(B, D)."""
        student, last = self.served.student, [ask.last for ask in asks if ask.last is not None]
        if not last:
            return student.hidden(queries)
        searches = np.array([ask.last is not None for ask in asks])
        hidden = np.empty((len(asks), student.vectors.shape[1]), np.float32)
        hidden[searches] = student.hidden(queries[searches], np.stack(last))
        hidden[~searches] = student.hidden(queries[~searches])
        return hidden

    def _taken(self, user: int) -> list[int]:
        histories = self.served.histories
        taken: list[int] = histories.values[histories.starts[user] : histories.stops[user]].tolist()
        return taken

    def _item(self, external: Id) -> int:
        place = self.served.items.place(external)
        if place < 0:
            raise DataError(f"no item is called {external!r}")
        return place

    def _allowed(self, query: Query) -> NDArray[np.bool_] | None:
        if query.allow is None and not query.where:
            return None
        allowed = np.ones(len(self.served.items), np.bool_)
        if query.allow is not None:
            allowed[:] = False
            allowed[[self._item(item) for item in query.allow]] = True
        for name, values in (query.where or {}).items():
            of_values = self._by_attribute.get(name)
            if of_values is None:
                known = ", ".join(self._by_attribute) or "none"
                raise DataError(f"no attribute is called {name!r}; there are {known}")
            having = np.zeros(len(allowed), np.bool_)
            for value in values:
                if value not in of_values:
                    raise DataError(f"no item has {value!r} as its {name}")
                having[of_values[value]] = True
            allowed &= having
        return allowed

    @cached_property
    def _by_attribute(self) -> Mapping[str, Mapping[str, NDArray[np.int64]]]:
        found: dict[str, dict[str, list[int]]] = {}
        for name, of_items in self.served.attributes.items():
            places = found.setdefault(name, {})
            for place, values in enumerate(of_items):
                for value in values:
                    places.setdefault(value, []).append(place)
        return {name: {value: np.array(places) for value, places in each.items()} for name, each in found.items()}
