"""One suite for every place that state can be in: a file of SQLite, and a real Redis."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from distilrec.errors import StateError
from distilrec.serving.service import open_state
from distilrec.serving.sqlite import SQLiteState
from distilrec.serving.state import KEPT, State

T = TypeVar("T")
REDIS = shutil.which("redis-server")


def start_redis(folder: Path) -> subprocess.Popen[bytes]:
    """A server of this test alone, at a socket in its folder, that keeps each write before it answers."""
    assert REDIS is not None
    socket = folder / "redis.sock"
    server = subprocess.Popen(
        [REDIS, "--port", "0", "--unixsocket", str(socket), "--dir", str(folder), "--save", "", "--appendonly", "yes",
         "--appendfsync", "always"],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    for _ in range(200):
        if socket.exists():
            return server
        time.sleep(0.02)
    server.kill()
    raise RuntimeError("Redis doesn't start")


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.skipif(REDIS is None, reason="no Redis"))])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where the state is."""
    if request.param == "sqlite":
        yield f"sqlite:{tmp_path / 'state.db'}"
        return
    server = start_redis(tmp_path)
    yield f"unix://{tmp_path / 'redis.sock'}"
    server.terminate()
    server.wait()


def on(place: str, *steps: Callable[[State], Coroutine[Any, Any, T]]) -> list[T]:
    """What each step gives, on a state that is opened, and closed after."""

    async def run() -> list[T]:
        state = open_state(place)
        found = [await step(state) for step in steps]
        await state.close()
        return found

    return asyncio.run(run())


def test_clicks_come_back_in_order_by_key(place: str) -> None:
    taken = on(
        place,
        lambda state: state.add([("user:1", "a"), ("session:x", 7), ("user:1", 3)]),
        lambda state: state.add([("user:1", "ü")]),
        lambda state: state.taken(["session:x", "user:1", "nobody", "user:1"]),
    )[-1]
    assert taken == [[7], ["a", 3, "ü"], [], ["a", 3, "ü"]]


def test_who_clicks_no_more_is_forgotten(place: str) -> None:
    """Some days after the last click, here three seconds; who clicked since keeps all."""

    async def run() -> list[list[list[str | int]]]:
        state = open_state(place, keep_days=3 / 86_400)
        await state.add([("session:a", 1), ("user:1", 2)])
        found = []
        for _ in range(4):
            await asyncio.sleep(1.2)
            await state.add([("user:1", 3)])
            await state.expire()
            found.append(await state.taken(["session:a", "user:1"]))
        await state.close()
        return found

    found = asyncio.run(run())
    assert found[-1] == [[], [2, 3, 3, 3, 3]]
    assert on(place, lambda state: state.taken(["session:a"])) == [[[]]]


def test_clicks_that_were_kept_for_ever_are_not_any_more(place: str) -> None:
    """And the other way round: they stay, once nobody is to be forgotten."""

    async def run() -> list[list[list[str | int]]]:
        found = []
        for keep_days in (0, 2 / 86_400, 0):
            state = open_state(place, keep_days=keep_days)
            await state.expire()
            if keep_days:
                await state.add([("user:1", 2)])
                await asyncio.sleep(0.5)
            else:
                await state.add([("user:1", 1), ("session:a", 1)])
            await state.close()
        await asyncio.sleep(2.5)
        state = open_state(place)
        await state.expire()
        found.append(await state.taken(["user:1", "session:a"]))
        await state.close()
        return found

    assert asyncio.run(run()) == [[[1, 2, 1], [1, 1]]]


def test_nobody_is_forgotten_where_clicks_are_kept_for_ever(place: str) -> None:
    steps = (lambda state: state.add([("session:a", 1)]), lambda state: state.expire())
    assert on(place, *steps, lambda state: state.taken(["session:a"]))[-1] == [[1]]


def test_many_are_forgotten_some_at_a_time(tmp_path: Path) -> None:
    state = SQLiteState(tmp_path / "state.db", keep=1)
    clicks = [(f"session:{n}", n) for n in range(1_203)]
    asyncio.run(state.add(clicks))
    with sqlite3.connect(tmp_path / "state.db") as other:
        other.execute("UPDATE keys SET clicked = clicked - 10 WHERE key != 'session:7'")
    asyncio.run(state.expire())
    assert asyncio.run(state.taken([key for key, _ in clicks])) == [[7] if n == 7 else [] for n in range(1_203)]
    asyncio.run(state.close())


def test_what_was_kept_outlives_the_process(place: str) -> None:
    on(place, lambda state: state.add([("user:1", "a")]))
    assert on(place, lambda state: state.taken(["user:1"])) == [[["a"]]]


def test_old_clicks_are_forgotten(place: str) -> None:
    """Prevents a user who never logs out from filling the disk."""
    many = [("user:1", n) for n in range(KEPT + 30)]
    taken = on(place, lambda s: s.add(many[:500]), lambda s: s.add(many[500:]), lambda s: s.taken(["user:1"]))[-1]
    assert taken == [list(range(30, KEPT + 30))]


def test_forgetting_is_of_one_alone(place: str) -> None:
    taken = on(
        place,
        lambda state: state.add([("user:1", "secret"), ("user:2", "b")]),
        lambda state: state.forget("user:1"),
        lambda state: state.taken(["user:1", "user:2"]),
    )[-1]
    assert taken == [[], ["b"]]


def test_what_is_forgotten_is_not_in_the_file(tmp_path: Path) -> None:
    place = f"sqlite:{tmp_path / 'state.db'}"
    on(place, lambda state: state.add([("user:1", "a-very-secret-thing")]))
    on(place, lambda state: state.forget("user:1"))
    assert not any(b"a-very-secret-thing" in path.read_bytes() for path in tmp_path.iterdir())


def test_new_items_come_back_in_order_and_the_last_counts(place: str) -> None:
    items = on(
        place,
        lambda state: state.add_items([("a", b"1"), (7, b"2")]),
        lambda state: state.add_items([("a", b"3")]),
        lambda state: state.items(),
    )[-1]
    assert items == [(7, b"2"), ("a", b"3")]


def test_two_servers_share_it(place: str) -> None:
    async def both() -> list[list[Any]]:
        one, two = open_state(place), open_state(place)
        await asyncio.gather(*(state.add([("user:1", n)]) for n, state in enumerate([one, two] * 10)))
        found = await one.taken(["user:1"])
        await two.add([("user:1", 99)])
        found += await one.taken(["user:1"])
        await two.forget("user:1")
        found += await one.taken(["user:1"])
        for state in (one, two):
            await state.close()
        return found

    before, after, forgotten = asyncio.run(both())
    assert sorted(before) == list(range(20))
    assert after == [*before, 99]
    assert forgotten == []


@pytest.mark.skipif(REDIS is None, reason="no Redis")
def test_a_redis_that_stops_is_an_error_and_works_again(tmp_path: Path) -> None:
    server = start_redis(tmp_path)
    place = f"unix://{tmp_path / 'redis.sock'}"

    async def through() -> list[list[Any]]:
        nonlocal server
        state = open_state(place)
        await state.add([("user:1", "a")])
        server.terminate()
        server.wait()
        for step in (state.add([("user:1", "b")]), state.taken(["user:1"]), state.items(), state.forget("user:1")):
            with pytest.raises(StateError):
                await step
        server = start_redis(tmp_path)
        await state.add([("user:1", "c")])
        found = await state.taken(["user:1"])
        await state.close()
        return found

    assert asyncio.run(through()) == [["a", "c"]]
    server.terminate()
    server.wait()


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_text("this is no database, and long enough to be looked at", encoding="utf-8")
    with pytest.raises(StateError, match=r"state\.db: file is not a database"):
        open_state(f"sqlite:{tmp_path / 'state.db'}")


def test_a_full_disk_refuses_and_keeps_again_once_there_is_room(tmp_path: Path) -> None:
    """SQLite's own limit of pages stands for the disk's end: the error is the same."""
    state = SQLiteState(tmp_path / "state.db")

    async def filled() -> None:
        for n in range(1_000):
            await state.add([("user:1", f"{n:0>400}")])

    async def through() -> list[list[Any]]:
        state._database.execute("PRAGMA max_page_count = 10")
        with pytest.raises(StateError, match="full"):
            await filled()
        with pytest.raises(StateError, match="full"):
            await state.add([("user:1", "x" * 400)])
        state._database.execute("PRAGMA max_page_count = 10000")
        await state.add([("user:2", "again")])
        return await state.taken(["user:2"])

    assert asyncio.run(through()) == [["again"]]
    asyncio.run(state.close())
