"""What many requests ask for in the same moment, done at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

__all__ = ["Together"]

T = TypeVar("T")
R = TypeVar("R")


class Together(Generic[T, R]):
    """A function of many, called by each with its own; from one event loop.

    It is called once a turn of the loop has brought none besides, or `most` wait: nobody waits for a clock, and the
    busier a server is, the more it does at once. What the function raises, all of them get.

    >>> async def main():
    ...     squares = Together(lambda numbers: [n * n for n in numbers], 100)
    ...     return await asyncio.gather(squares(3), squares(4))
    >>> asyncio.run(main())
    [9, 16]
    """

    def __init__(self, function: Callable[[list[T]], Sequence[R]], most: int) -> None:
        self._function, self._most = function, most
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []

    def __call__(self, given: T) -> asyncio.Future[R]:
        """What the function gives for this one."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._gather, loop, 0)
        future: asyncio.Future[R] = loop.create_future()
        self._waiting.append((given, future))
        return future

    def _gather(self, loop: asyncio.AbstractEventLoop, before: int) -> None:
        if before < len(self._waiting) < self._most:
            loop.call_soon(self._gather, loop, len(self._waiting))
            return
        batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
        if self._waiting:
            loop.call_soon(self._gather, loop, 0)
        wanted = [(given, future) for given, future in batch if not future.done()]  # but for those who gave up
        try:
            found = self._function([given for given, _ in wanted])
        except Exception as error:  # for those who wait to raise
            for _, future in wanted:
                future.set_exception(error)
            return
        for (_, future), result in zip(wanted, found, strict=True):
            future.set_result(result)
