"""HTTP/1.1 as uvicorn speaks it, with limits to what comes before a request can be looked at."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["BoundedProtocol"]

MOST_HEADERS = 65_536  # bytes
SECONDS = 10.0


class BoundedProtocol(HttpToolsProtocol):
    """Closes connections whose headers take more than 64 KiB, or ten seconds to come; no key has been checked then.

    Every request passes here: whether its headers are there is read from its scope, which has a path from then on.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A first request is waited for like the rest of one."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more comes."""
        self._stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Most often a whole request."""
        super().data_received(data)
        scope: Any = self.scope  # None before the first request
        if scope is not None and "path" in scope:
            if self._timer is not None:
                self._stop()
            return
        self._size += len(data)
        if self._size > MOST_HEADERS:
            self.send_400_response("Headers are too large.")
        elif self._timer is None:
            self._wait()

    def _wait(self) -> None:
        self._timer = self.loop.call_later(SECONDS, self.transport.close)

    def _stop(self) -> None:
        self._size = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
