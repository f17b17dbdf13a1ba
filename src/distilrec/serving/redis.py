"""State in Redis: several servers on several machines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from distilrec.errors import StateError, require
from distilrec.serving.state import KEPT, Click, Id

__all__ = ["RedisState"]

TIMEOUT = 1.0  # seconds, within which an answer goes on without state


class RedisState:
    """Lists of clicks, and a hash of new items with their order beside it, under a prefix.

    url: redis://HOST:PORT/DATABASE. keep: seconds after the last click of a user or session in which its clicks are
    kept; None: for ever. What is acknowledged is as safe as Redis keeps it: set appendonly there.
    """

    def __init__(self, url: str, prefix: str = "distilrec", *, keep: int | None = None) -> None:
        require("redis", "serve", "state in Redis")
        import redis.asyncio
        import redis.exceptions

        self._errors = (redis.exceptions.RedisError, OSError)
        self._prefix, self._seconds = prefix, keep
        self._redis: Any = redis.asyncio.Redis.from_url(
            url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, decode_responses=False
        )

    async def add(self, clicks: Sequence[Click]) -> None:
        """In one transaction."""
        try:
            async with self._redis.pipeline(transaction=True) as pipe:
                for key, item in clicks:
                    pipe.rpush(self._key(key), json.dumps(item))
                for key in {key for key, _ in clicks}:
                    pipe.ltrim(self._key(key), -KEPT, -1)
                    if self._seconds is None:
                        pipe.persist(self._key(key))
                    else:
                        pipe.expire(self._key(key), self._seconds)
                await pipe.execute()
        except self._errors as error:
            raise StateError(str(error)) from error

    async def taken(self, keys: Sequence[str]) -> list[list[Id]]:
        """In one round trip."""
        if not keys:
            return []
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.lrange(self._key(key), 0, -1)
                found = await pipe.execute()
        except self._errors as error:
            raise StateError(str(error)) from error
        return [[json.loads(item) for item in each] for each in found]

    async def forget(self, key: str) -> None:
        """At once."""
        try:
            await self._redis.delete(self._key(key))
        except self._errors as error:
            raise StateError(str(error)) from error

    async def expire(self) -> None:
        """Redis does it by itself, but for those whose clicks were to be kept for ever until now."""
        if self._seconds is None:
            return
        try:
            async for key in self._redis.scan_iter(self._key("*"), count=1_000):
                await self._redis.expire(key, self._seconds, nx=True)
        except self._errors as error:
            raise StateError(str(error)) from error

    async def add_items(self, items: Sequence[tuple[Id, bytes]]) -> None:
        """In one transaction."""
        try:
            async with self._redis.pipeline(transaction=True) as pipe:
                for item, told in items:
                    name = json.dumps(item)
                    pipe.lrem(f"{self._prefix}:items", 0, name)
                    pipe.rpush(f"{self._prefix}:items", name)
                    pipe.hset(f"{self._prefix}:told", name, told)
                await pipe.execute()
        except self._errors as error:
            raise StateError(str(error)) from error

    async def items(self) -> list[tuple[Id, bytes]]:
        """All."""
        try:
            names = await self._redis.lrange(f"{self._prefix}:items", 0, -1)
            told = await self._redis.hmget(f"{self._prefix}:told", names) if names else []
        except self._errors as error:
            raise StateError(str(error)) from error
        return [(json.loads(name), each) for name, each in zip(names, told, strict=True) if each is not None]

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    def _key(self, key: str) -> str:
        return f"{self._prefix}:clicks:{key}"
