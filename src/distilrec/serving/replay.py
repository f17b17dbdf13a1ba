"""A recorded log played against a server as live traffic."""

from __future__ import annotations

import http.client
import json
import threading
import time
import urllib.parse
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilrec.errors import StateError

__all__ = ["Replayed", "Stream", "play"]

PATIENCE = 30.0  # seconds for an answer


@dataclass(frozen=True, eq=False)
class Stream:
    """Clicks in the order of their times: ids of users and items, and (n,) bool whether the answer before counts."""

    users: Sequence[Any]
    items: Sequence[Any]
    counts: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Replayed:
    """What came of it.

    ranks: (Q,) int64, of each click that counts the place, from 0, at which it stood in the list that was shown before
    it, -1 where it wasn't in it. recommend_ms, click_ms: (n,) from a request to its answer, as the client sees it.
    seconds: from the first to the last.
    """

    ranks: NDArray[np.int64]
    recommend_ms: NDArray[np.float64]
    click_ms: NDArray[np.float64]
    seconds: float

    @property
    def ndcg(self) -> NDArray[np.float64]:
        """(Q,): 1 / log2(rank + 2), 0 where the click wasn't foretold."""
        return np.where(self.ranks < 0, 0.0, 1 / np.log2(np.maximum(self.ranks, 0) + 2))


def play(
    url: str, stream: Stream, *, k: int = 10, connections: int = 16, on_click: Callable[[int], None] = lambda _: None
) -> Replayed:
    """Before each click ask for the user's k best items, then tell of the click.

    The clicks of one user come in their order, each once the one before is kept; those of different users side by side,
    on as many connections, as fast as they are answered. Raises StateError where the server refuses one.
    """
    place_of: dict[Any, int] = {}
    turns: list[list[int]] = [[] for _ in range(connections)]
    for number, user in enumerate(stream.users):
        turns[place_of.setdefault(user, len(place_of)) % connections].append(number)
    ranks = np.full(len(stream.users), -1, np.int64)
    times = np.zeros((2, len(stream.users)))

    ended = threading.Event()

    def go(numbers: Sequence[int]) -> None:
        address = urllib.parse.urlsplit(url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=PATIENCE)
        try:
            for number in numbers:
                if ended.is_set():
                    return
                user, item = stream.users[number], stream.items[number]
                times[0, number], shown = _ask(connection, "/recommend", {"user": user, "k": k})
                listed = [each["item"] for each in shown["items"]]
                ranks[number] = listed.index(item) if item in listed else -1
                times[1, number], _ = _ask(connection, "/events", {"user": user, "item": item})
                on_click(number)
        except BaseException:
            ended.set()
            raise
        finally:
            connection.close()

    begin = time.perf_counter()
    with ThreadPoolExecutor(connections) as pool:
        try:
            list(pool.map(go, turns))
        finally:
            ended.set()  # an interrupted replay ends at once
    return Replayed(ranks[stream.counts], 1e3 * times[0], 1e3 * times[1], time.perf_counter() - begin)


def _ask(connection: http.client.HTTPConnection, path: str, content: dict[str, Any]) -> tuple[float, dict[str, Any]]:
    body, begin = json.dumps(content).encode(), time.perf_counter()
    connection.request("POST", path, body, {"content-type": "application/json"})
    response = connection.getresponse()
    read = response.read()
    seconds = time.perf_counter() - begin
    if response.status != 200:
        raise StateError(f"{path} with {content} was answered {response.status}: {read[:300].decode(errors='replace')}")
    answer: dict[str, Any] = json.loads(read)
    return seconds, answer
