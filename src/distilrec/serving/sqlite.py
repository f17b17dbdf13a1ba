"""State in a file of SQLite: nothing to install, nothing to start."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from distilrec.errors import StateError
from distilrec.serving.state import KEPT, Click, Id
from distilrec.serving.together import Together

__all__ = ["SQLiteState"]

TRIM = 64  # clicks after which those of a key are counted
AT_ONCE = 1_000  # requests whose clicks are kept in one transaction
FORGOTTEN = 500  # users and sessions whose clicks are deleted in one transaction
AT_HAND = 200_000  # clicks and their users or sessions
TABLES = """
CREATE TABLE IF NOT EXISTS clicks (number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, item TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS clicks_by_key ON clicks (key, number);
CREATE TABLE IF NOT EXISTS keys (key TEXT PRIMARY KEY, clicked INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS keys_by_time ON keys (clicked);
CREATE TABLE IF NOT EXISTS items
  (number INTEGER PRIMARY KEY AUTOINCREMENT, item TEXT UNIQUE NOT NULL, told BLOB NOT NULL);
"""


class SQLiteState:
    """A write-ahead log: several processes of one machine read while one writes.

    A click that was acknowledged survives the death of the process. What survives the death of the machine is what its
    disk had: set durable to wait for that. keep: seconds after the last click of a user or session in which its clicks
    are kept; None: for ever. Clicks that come in one turn of the event loop are kept in one transaction. What was read
    stays at hand until another process writes.
    """

    def __init__(self, path: Path, *, durable: bool = False, keep: int | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._keep: Together[Sequence[Click], None] = Together(self._add, AT_ONCE)
        self._seconds = keep
        self._read: dict[str, list[Id]] = {}
        self._at_hand, self._version = 0, -1
        try:
            self._database = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA secure_delete=ON")
            self._database.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._database.executescript(TABLES)
        except sqlite3.Error as error:
            raise StateError(f"{path}: {error}") from error

    async def add(self, clicks: Sequence[Click]) -> None:
        """All of them, or none."""
        await self._keep(clicks)

    def _add(self, together: Sequence[Sequence[Click]]) -> list[None]:
        """In one transaction."""
        clicks = [click for each in together for click in each]
        try:
            with self._transaction():
                rows = [(key, json.dumps(item)) for key, item in clicks]
                self._database.executemany("INSERT INTO clicks (key, item) VALUES (?, ?)", rows)
                now = int(time.time())
                self._database.executemany(
                    "INSERT INTO keys VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET clicked = excluded.clicked",
                    [(key, now) for key in {key for key, _ in clicks}],
                )
                [last] = self._database.execute("SELECT last_insert_rowid()").fetchone()
                # Counting a key's clicks takes longer than keeping one.
                for key in {key for key, _ in clicks} if last % TRIM < len(clicks) else ():
                    self._database.execute(
                        "DELETE FROM clicks WHERE key = ? AND number <= "
                        "(SELECT number FROM clicks WHERE key = ? ORDER BY number DESC LIMIT 1 OFFSET ?)",
                        (key, key, KEPT),
                    )
        except sqlite3.Error as error:
            raise StateError(str(error)) from error
        for key, item in clicks:
            if key in self._read:
                self._read[key] = [*self._read[key], item][-KEPT:]
                self._at_hand += 1
        return [None for _ in together]

    async def taken(self, keys: Sequence[str]) -> list[list[Id]]:
        """By the index, where it isn't at hand."""
        try:
            [version] = self._database.execute("PRAGMA data_version").fetchone()
            if version != self._version or self._at_hand > AT_HAND:  # another process wrote
                self._read, self._at_hand, self._version = {}, 0, version
            return [self._read[key] if key in self._read else self._taken(key) for key in keys]
        except sqlite3.Error as error:
            raise StateError(str(error)) from error

    def _taken(self, key: str) -> list[Id]:
        sought = "SELECT item FROM clicks WHERE key = ? ORDER BY number DESC LIMIT ?"
        items = [item for (item,) in self._database.execute(sought, (key, KEPT))]
        self._read[key] = json.loads(f"[{','.join(reversed(items))}]")
        self._at_hand += 1 + len(items)
        return self._read[key]

    async def forget(self, key: str) -> None:
        """Overwritten in the file, too, at the next checkpoint."""
        try:
            with self._transaction():
                self._delete([key])
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise StateError(str(error)) from error

    async def expire(self) -> None:
        """Some at a time, so that answers come in between."""
        if self._seconds is None:
            return
        since = int(time.time()) - self._seconds
        while self._expired(since) == FORGOTTEN:
            await asyncio.sleep(0)

    def _expired(self, since: int) -> int:
        """How many there were, at most as many as are forgotten at once."""
        sought = "SELECT key FROM keys WHERE clicked < ? LIMIT ?"
        try:
            with self._transaction():
                keys = [key for (key,) in self._database.execute(sought, (since, FORGOTTEN))]
                self._delete(keys)
        except sqlite3.Error as error:
            raise StateError(str(error)) from error
        return len(keys)

    def _delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._read.pop(key, None)
        self._database.executemany("DELETE FROM clicks WHERE key = ?", [(key,) for key in keys])
        self._database.executemany("DELETE FROM keys WHERE key = ?", [(key,) for key in keys])

    async def add_items(self, items: Sequence[tuple[Id, bytes]]) -> None:
        """In one transaction."""
        rows = [(json.dumps(item), told) for item, told in items]
        try:
            with self._transaction():
                self._database.executemany("INSERT OR REPLACE INTO items (item, told) VALUES (?, ?)", rows)
        except sqlite3.Error as error:
            raise StateError(str(error)) from error

    async def items(self) -> list[tuple[Id, bytes]]:
        """All."""
        try:
            found = self._database.execute("SELECT item, told FROM items ORDER BY number").fetchall()
        except sqlite3.Error as error:
            raise StateError(str(error)) from error
        return [(json.loads(item), told) for item, told in found]

    async def close(self) -> None:
        """Close the file."""
        self._database.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        finally:
            if self._database.in_transaction:  # else the next one couldn't begin, even with room on the disk again
                self._database.execute("ROLLBACK")
