"""What stands before every request: keys, limits, time, and a line in the log."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import time
from collections import OrderedDict
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from distilrec.serving.metrics import Metrics
from distilrec.serving.settings import Settings

__all__ = ["Guard", "TooLargeError", "TooSlowError"]

_logger = logging.getLogger("distilrec.access")
KEPT = ("recommend", "events", "items", "users", "sessions", "metrics")  # that need a key, where there are keys
UNCOUNTED = ("/health", "/ready")  # asked by whoever watches the server, however busy it is
PATHS = ("/recommend", "/recommend/batch", "/events", "/items", "/metrics", "/openapi.json", "/docs", *UNCOUNTED)
CALLERS = 10_000  # whose rate is remembered


class TooLargeError(Exception):
    """A body of more bytes than a request may have."""


class TooSlowError(Exception):
    """A request that didn't come in time."""


class Guard:
    """API keys, the size of bodies, the rate of each caller, how many wait, and how long a request may take to come.

    The log has path, status and milliseconds, and nothing that was asked.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics
        self._too_large = f"a request has at most {settings.body_limit:,} bytes"
        self._keys = [key.encode() for key in settings.keys]
        self._under_way = 0
        self._rates: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or say why not."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin, told = time.perf_counter(), {"status": 500}

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                told["status"] = message["status"]
            await send(message)

        self._under_way += 1
        self._metrics.waiting.set(self._under_way)
        try:
            refusal = self._refusal(scope)
            if refusal is None:
                await self._app(scope, self._limited(receive), sending)
            else:
                await _refuse(sending, *refusal)
        finally:
            self._under_way -= 1
            seconds = time.perf_counter() - begin
            self._tell(scope, told["status"], seconds)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        if scope["path"] in UNCOUNTED:
            return None
        part = scope["path"].lstrip("/").partition("/")[0]
        headers = dict(scope["headers"])
        key = headers.get(b"x-api-key") or headers.get(b"authorization", b"").removeprefix(b"Bearer ")
        if self._keys and part in KEPT and not any(hmac.compare_digest(key, known) for known in self._keys):
            return 401, "an API key is needed, in the header X-API-Key or as a bearer token"
        if self._under_way > self._settings.waiting:
            return 503, "too many requests are waiting; come back in a second"
        address = str((scope.get("client") or ("", 0))[0])
        caller = key.decode("latin-1") if key in self._keys else address  # else each request could be someone new
        if self._settings.rate is not None and not self._has_turn(caller, self._settings.rate):
            return 429, f"more than {self._settings.rate:g} requests a second; come back in a second"
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._settings.body_limit:
            return 413, self._too_large
        return None

    def _has_turn(self, caller: str, rate: float) -> bool:
        """A bucket of as many requests as a second has, at least one, that fills again."""
        now, most = time.monotonic(), max(1.0, rate)
        left, since = self._rates.pop(caller, (most, now))
        left = min(most, left + (now - since) * rate)
        self._rates[caller] = (left - 1 if left >= 1 else left, now)
        if len(self._rates) > CALLERS:
            self._rates.popitem(last=False)
        return left >= 1

    def _limited(self, receive: Receive) -> Receive:
        read, until, whole = 0, time.monotonic() + self._settings.timeout, False

        async def receiving() -> Message:
            nonlocal read, whole
            if whole:  # what is waited for now is the end of the connection
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(0.001, until - time.monotonic()))
            except TimeoutError:
                raise TooSlowError(f"the request didn't come within {self._settings.timeout:g} seconds") from None
            read += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if read > self._settings.body_limit:
                raise TooLargeError(self._too_large)
            return message

        return receiving

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        part = scope["path"].lstrip("/").partition("/")[0]
        path = scope["path"] if scope["path"] in PATHS else f"/{part}/..." if part in ("users", "sessions") else "other"
        self._metrics.tell(path, status, seconds)
        self._metrics.waiting.set(self._under_way)
        if _logger.isEnabledFor(logging.INFO):
            _logger.info(
                json.dumps({"path": path, "method": scope["method"], "status": status, "ms": round(1e3 * seconds, 2)})
            )


async def _refuse(send: Send, status: int, why: str) -> None:
    body = json.dumps({"error": why}).encode()
    headers: list[Any] = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status in (429, 503):
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
