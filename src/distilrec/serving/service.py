"""What the server does, apart from HTTP: bundles taken up and rolled back, batches, clicks, new items."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import msgspec
import numpy as np

from distilrec.errors import ArtefactError, DataError, MissingExtraError, StateError
from distilrec.evaluation.agreement import overlap
from distilrec.runtime import Served
from distilrec.runtime.manifest import CARD, EXPORTS, MANIFEST
from distilrec.serving.engine import Ask, Engine
from distilrec.serving.nearest import LARGE
from distilrec.serving.requests import Answer, Event, Item, NewItem, Query, Stored
from distilrec.serving.settings import Settings
from distilrec.serving.sqlite import SQLiteState
from distilrec.serving.state import Id, State
from distilrec.serving.together import Together

__all__ = ["Service", "open_state", "passes"]

_logger = logging.getLogger("distilrec.serving")
MOST_AT_ONCE = 64  # queries answered together
MOST_TEXTS = 32
DAY = 86_400  # seconds
BESIDE = (CARD, EXPORTS)  # files of a bundle that nothing is answered from
LEFT_OUT = "a new item doesn't fit this bundle and is left out: %s"
Stamp: TypeAlias = tuple[tuple[str, int, int, int], ...]
"""Name, time, inode and bytes of each of a bundle's files."""


def open_state(place: str, *, durable: bool = False, keep_days: float = 0) -> State:
    """The state at `sqlite:PATH` or `redis://...`; raises StateError where a file can't be opened."""
    keep = max(1, int(keep_days * DAY)) if keep_days else None
    if place.startswith("sqlite:"):
        return SQLiteState(Path(place.removeprefix("sqlite:")), durable=durable, keep=keep)
    from distilrec.serving.redis import RedisState

    return RedisState(place, keep=keep)


def passes(served: Served, least: float) -> float:
    """How much of the student's ten best items, as PyTorch gave them, the bundle answers on its held-out queries.

    Raises ArtefactError where that is less than `least`. A bundle without held-out queries passes.
    """
    held_out = served.held_out()
    if len(held_out.queries) == 0:
        return 1.0
    found, _ = served.student.rank(held_out.queries, 10)
    expected = held_out.expected.padded(10, fill=-1)
    shared = float(overlap(found, expected, 10).mean())
    if shared < least:
        raise ArtefactError(
            f"{served.folder} answers otherwise than the student that was measured: it shares {shared:.3f} of the ten "
            f"best items, at least {least} are asked for; export it again"
        )
    return shared


@dataclass
class Service:
    """One bundle at a time, and what was clicked and added since it was made."""

    settings: Settings
    state: State
    engine: Engine
    refused: str | None = None
    """Why the bundle that lies there now wasn't taken up."""
    _tried: set[Id] = field(default_factory=set)
    """New items of the state that the bundle has, or can't have."""
    _changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    _answer: Together[tuple[Engine, Ask], list[Item]] = field(default_factory=lambda: Together(_answers, MOST_AT_ONCE))
    _seen: Stamp | None = None

    @classmethod
    def of(cls, settings: Settings) -> Service:
        """Load the bundle, through its gate, and open the state. Raises ArtefactError or StateError."""
        stamp = _stamp(settings.bundle)
        served = Served.load(settings.bundle)
        shared = passes(served, settings.overlap)
        _logger.info("serving %s: %s items, gate %.3f", settings.bundle, len(served.items), shared)
        engine = _engine(served, settings)
        gc.freeze()  # what a bundle holds stays: looking through it for garbage took 20 ms now and then
        state = open_state(settings.state_place(), durable=settings.durable, keep_days=settings.keep_days)
        return cls(settings, state, engine, _seen=stamp)

    async def recommend(self, queries: Sequence[Query]) -> list[Answer]:
        """Answer; where the state can't be reached, without what was clicked, and `degraded`."""
        keys = [key for query in queries for key in _keys_of(query)]
        degraded = False
        try:
            taken = iter(await self.state.taken(keys) if keys else [])
        except StateError as error:
            _logger.warning("state can't be reached, answering without: %s", error)
            taken, degraded = iter([[] for _ in keys]), True
        engine = self.engine  # one for all that follows, whatever is taken up meanwhile
        answers: list[Answer] = []
        texts = [query.text for query in queries if query.text is not None]
        if len(texts) > MOST_TEXTS:
            raise DataError(f"{len(texts)} texts at once; send at most {MOST_TEXTS}")
        read = iter(await asyncio.to_thread(engine.served.read, texts) if texts else ())
        for begin in range(0, len(queries), MOST_AT_ONCE):
            asks = []
            for query in queries[begin : begin + MOST_AT_ONCE]:
                clicked = [item for _ in _keys_of(query) for item in next(taken)]
                asks.append(engine.ask(query, clicked, None if query.text is None else next(read)))
            found = [self._answer((engine, ask)) for ask in asks]
            answers += [Answer(await items, degraded) for items in found]
        return answers

    async def click(self, event: Event) -> Stored:
        """Keep a click, and answer after it where that is asked for. Raises StateError where it can't be kept."""
        keys = _keys(event.user, event.session)
        if not keys:
            raise DataError("give the user or the session that took the item")
        asked = Query(user=event.user, session=event.session, k=event.k or 1)
        if event.k:
            self.engine.ask(asked, ())  # what can't be answered is refused before it is kept
        place = self.engine.served.items.place(event.item)
        await self.state.add([(keys[0], event.item)])
        if not event.k:
            return Stored(place >= 0)
        [answer] = await self.recommend([asked])
        return Stored(place >= 0, answer.items, answer.degraded)

    async def forget(self, user: Id | None, session: str | None) -> None:
        """Delete what a user or session clicked."""
        for key in _keys(user, session):
            await self.state.forget(key)

    async def add_items(self, items: Sequence[NewItem]) -> int:
        """Place new items by their content and keep them; returns how many there are now.

        Raises DataError where an id is there already, or nothing that the student reads is told of an item.
        """
        async with self._changing:
            ids = self.engine.served.items
            new = {ids.read(item.item) for item in items}
            for item in items:
                if ids.read(item.item) is None or ids.place(item.item) >= 0 or len(new) < len(items):
                    raise DataError(
                        f"{item.item!r} is no new id, comes twice, or is of another type than the items' ids"
                    )
            there = self.engine.served.attributes
            for name in (name for item in items for name in item.attributes if name not in there):
                raise DataError(f"no attribute is called {name!r}; there are {', '.join(there) or 'none'}")
            wider = _placed(self.engine.served, items)  # before anything is kept
            await self.state.add_items([(item.item, msgspec.json.encode(item)) for item in items])
            self.engine = Engine(wider, self.engine.nearest)
            self._tried |= {item.item for item in items}
            return len(wider.items)

    async def refresh(self, *, again: bool = False) -> bool:
        """Take up a bundle that has changed, if it passes its gate, and items that other servers added.

        Requests under way are answered by the one they began with. again: try one that was refused, too, although
        nothing has changed. Returns whether a bundle was taken up.
        """
        async with self._changing:
            stamp, engine = _stamp(self.settings.bundle), self.engine
            if stamp is not None and (stamp != self._seen or (again and self.refused is not None)):
                self._seen = stamp
                try:
                    engine = await asyncio.to_thread(self._load)
                    self.refused, self._tried = None, set()
                except Exception as error:  # whatever is wrong with it, the one that is served stays
                    self.refused = str(error)
                    _logger.error("stays with the bundle that it has: %s", error)
            taken = engine is not self.engine
            self.engine = await self._with_items(engine)  # at once, so that no request finds them missing
            if taken:
                gc.freeze()
                _logger.info("took up a new bundle: %s items", len(self.engine.served.items))
            return taken

    async def close(self) -> None:
        """Let go of the state."""
        await self.state.close()

    def _load(self) -> Engine:
        served = Served.load(self.settings.bundle)
        passes(served, self.settings.overlap)
        return _engine(served, self.settings)

    async def _with_items(self, engine: Engine) -> Engine:
        """With those new items, too, that this or another server was told of before, and that fit this bundle."""
        if engine.served.student.tower is None:
            return engine
        try:
            told = [(item, each) for item, each in await self.state.items() if item not in self._tried]
        except StateError as error:
            _logger.warning("new items can't be read now: %s", error)
            return engine
        self._tried |= {item for item, _ in told}
        # Those that there are the bundle was trained on.
        new = [each for item, each in told if engine.served.items.place(item) < 0]
        return (
            Engine(await asyncio.to_thread(_with_those_that_fit, engine.served, new), engine.nearest) if new else engine
        )


def _engine(served: Served, settings: Settings) -> Engine:
    """Searches all items, or where there are many, those that lie near."""
    if len(served.items) < LARGE or settings.recall == 1:
        return Engine(served)
    try:
        return Engine.near(served, settings.recall)
    except MissingExtraError as error:
        _logger.warning("scoring all items for each query: %s", error)
        return Engine(served)


def _answers(asked: Sequence[tuple[Engine, Ask]]) -> list[list[Item]]:
    """In one pass, or while a bundle is taken up, in one of each that is asked."""
    engines = dict.fromkeys(engine for engine, _ in asked)
    found = {each: iter(each.answer([ask for engine, ask in asked if engine is each])) for each in engines}
    return [next(found[engine]) for engine, _ in asked]


def _keys(user: Id | None, session: str | None) -> list[str]:
    """Under which clicks are: one key, or none. Raises DataError where both are given."""
    if user is not None and session is not None:
        raise DataError("give a user or a session, not both: a click is one of either")
    return [f"user:{user}"] * (user is not None) + [f"session:{session}"] * (session is not None)


def _keys_of(query: Query) -> list[str]:
    """Under which its clicks are; none where it brings its own history."""
    return _keys(query.user, query.session) if query.history is None else []


def _stamp(folder: Path) -> Stamp | None:
    """Changes when a file of the bundle does; None while one is put in the place of the other."""
    try:
        told = [
            (str(path), path.stat()) for path in sorted(folder.rglob("*")) if path.name not in BESIDE and path.is_file()
        ]
    except OSError:
        return None
    if not (folder / MANIFEST).is_file():
        return None
    return tuple((name, each.st_mtime_ns, each.st_ino, each.st_size) for name, each in told)


def _with_those_that_fit(served: Served, told: Sequence[bytes]) -> Served:
    """With new items as a state keeps them: all at once, or where one doesn't fit, one after the other."""
    items = []
    for each in told:
        try:
            items.append(msgspec.json.decode(each, type=NewItem))
        except msgspec.DecodeError as error:
            _logger.warning(LEFT_OUT, error)
    with contextlib.suppress(DataError):
        return _placed(served, items)
    for item in items:
        try:
            served = _placed(served, [item])
        except DataError as error:
            _logger.warning(LEFT_OUT, error)
    return served


def _placed(served: Served, items: Sequence[NewItem]) -> Served:
    """With new items. Raises DataError where their vectors aren't those that the student reads."""
    widths = served.manifest.student.content
    reads = ", ".join(f"{name} ({width})" for name, width in widths.items()) or "none, it knows items by their ids"
    features = {name: np.full((len(items), width), np.nan, np.float32) for name, width in widths.items()}
    for row, item in enumerate(items):
        for name, vector in item.vectors.items():
            if len(vector) != widths.get(name):
                raise DataError(f"{item.item!r}: {name!r} with {len(vector)} numbers; the student reads {reads}")
            features[name][row] = vector
        if not any(np.isfinite(each[row]).all() for each in features.values()):
            raise DataError(f"{item.item!r}: nothing is known of it; give a vector of what the student reads: {reads}")
    ids = [served.items.read(item.item) for item in items]
    if None in ids:
        raise DataError(f"{items[ids.index(None)].item!r} is of another type than the items' ids")
    attributes = {name: [item.attributes.get(name, []) for item in items] for name in served.attributes}
    return served.extended(features, ids, [item.title or str(item.item) for item in items], attributes)
