"""HTTP: which route a request takes, and what it must pass before: keys, limits, time; and a line in the log."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from distilrec.errors import DataError, StateError
from distilrec.serving.metrics import Metrics
from distilrec.serving.settings import Settings

__all__ = ["Guard", "Handler", "Reply", "Routes", "reply"]

_logger, _faults = logging.getLogger("distilrec.access"), logging.getLogger("distilrec.serving")
OPEN = ("/health", "/ready", "/openapi.json", "/docs")  # that need no key, where there are keys
UNCOUNTED = ("/health", "/ready")  # asked by whoever watches the server, however busy it is
OTHER = "other"  # what has no route
KEEPING = ("/events", "/items", "/users/...", "/sessions/...")  # which change what is kept
CALLERS = 10_000  # whose rate is remembered
JSON = b"application/json"
Header: TypeAlias = tuple[bytes, bytes]
SOON: Header = (b"retry-after", b"1")


class Reply(msgspec.Struct, frozen=True):
    """An answer. headers: beside its type and length."""

    body: bytes
    status: int = 200
    kind: bytes = JSON
    headers: tuple[Header, ...] = ()


Handler: TypeAlias = Callable[[bytes, str], Awaitable[Reply]]
"""Takes the body, and of a path of two parts the second one."""
Routes: TypeAlias = Mapping[str, Mapping[str, Handler]]
"""Handlers by path and method; `/users/...` stands for all paths that begin so."""
GONE = Reply(b"", 499)  # to nobody


def reply(content: Any, status: int = 200, *headers: Header) -> Reply:
    """As JSON."""
    return Reply(msgspec.json.encode(content), status, headers=headers)


class _RefusedError(Exception):
    """What is asked isn't done; says why."""

    def __init__(self, status: int, why: str, *headers: Header) -> None:
        super().__init__(why)
        self.reply = reply({"error": why}, status, *headers)


class _Within:
    """Refuses a request that doesn't come within so many seconds: asyncio.timeout, in less than half of its time."""

    def __init__(self, seconds: float) -> None:
        task = asyncio.current_task()
        assert task is not None  # requests are tasks
        self._seconds, self._task, self._late = seconds, task, False
        self._timer = asyncio.get_running_loop().call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        self._late = True
        self._task.cancel()

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._timer.cancel()
        if self._late and self._task.uncancel() == 0 and kind is asyncio.CancelledError:
            raise _RefusedError(408, f"the request didn't come within {self._seconds:g} seconds") from None


class Guard:
    """An ASGI application: API keys, the size of bodies, the rate of each caller, how many wait, and how long a request
    may take to come.

    rest: what paths without a route go to, and what isn't HTTP. The log has path, status and milliseconds, and nothing
    that was asked. Every request passes here, so nothing is done that the one at hand doesn't need.
    """

    def __init__(self, routes: Routes, rest: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._routes, self._rest, self._settings, self._metrics = routes, rest, settings, metrics
        self._keys = [key.encode() for key in settings.keys]
        self._under_way = 0
        metrics.waiting.set_function(lambda: self._under_way)
        self._rates: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or say why not."""
        if scope["type"] != "http":
            await self._rest(scope, receive, send)
            return
        begin, status = time.perf_counter(), 500
        name, second = self._route(scope["path"])
        self._under_way += 1
        try:
            if name == OTHER:
                status = await self._elsewhere(scope, receive, send)
                return
            answer = await self._answer(scope, receive, name, second)
            status = answer.status
            if answer is not GONE:
                await _send(send, answer)
        finally:
            self._under_way -= 1
            self._tell(scope, name, status, time.perf_counter() - begin)

    def _route(self, path: str) -> tuple[str, str]:
        """`/users/a/b` as `/users/...` and `a/b`; OTHER where there is no such route."""
        first, slash, second = path[1:].partition("/")
        beginning = f"/{first}/..."
        if slash and beginning in self._routes:
            return (beginning, second) if path[0] == "/" else (OTHER, "")
        return (path, "") if path in self._routes else (OTHER, "")

    async def _answer(self, scope: Scope, receive: Receive, name: str, second: str) -> Reply:
        try:
            self._check(scope, name)
            methods = self._routes[name]
            method = "GET" if scope["method"] == "HEAD" else scope["method"]
            handler = methods.get(method)
            if handler is None:
                allowed = ", ".join(methods)
                raise _RefusedError(405, f"not {method}, but {allowed}", (b"allow", allowed.encode()))
            body = await self._read(scope, receive)
            return GONE if body is None else await handler(body, second)
        except _RefusedError as error:
            return error.reply
        except (DataError, msgspec.DecodeError, UnicodeDecodeError) as error:
            return reply({"error": str(error)}, 400)
        except StateError as error:
            return reply({"error": f"nothing was kept, the state can't be reached: {error}; try again"}, 503, SOON)
        except Exception:  # whatever it is, the client is told, the log says more, and the server goes on
            _faults.exception("a request failed")
            return reply({"error": "the server failed, its log says how"}, 500)

    async def _elsewhere(self, scope: Scope, receive: Receive, send: Send) -> int:
        status = 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            self._check(scope, OTHER)
        except _RefusedError as error:
            await _send(sending, error.reply)
        else:
            await self._rest(scope, receive, sending)
        return status

    def _check(self, scope: Scope, name: str) -> None:
        if name in UNCOUNTED:
            return
        key = b""
        if self._keys:
            headers = dict(scope["headers"])
            key = headers.get(b"x-api-key") or headers.get(b"authorization", b"").removeprefix(b"Bearer ")
            known = any(hmac.compare_digest(key, each) for each in self._keys)
            if not known and name != OTHER and name not in OPEN:
                raise _RefusedError(401, "an API key is needed, in the header X-API-Key or as a bearer token")
            key = key if known else b""  # else each request could be someone new
        elif name in KEEPING:
            self._check_origin(dict(scope["headers"]))
        if self._under_way > self._settings.waiting:
            raise _RefusedError(503, "too many requests are waiting; come back in a second", SOON)
        if self._settings.rate is not None:
            address = str((scope.get("client") or ("", 0))[0])
            if not self._has_turn(key.decode("latin-1") or address, self._settings.rate):
                raise _RefusedError(
                    429, f"more than {self._settings.rate:g} requests a second; come back in a second", SOON
                )

    def _check_origin(self, headers: Mapping[bytes, bytes]) -> None:
        """Browsers send what pages of other origins ask for, and keep only the answer from these; so it isn't done."""
        origin = headers.get(b"origin")
        if origin is None or origin.partition(b"://")[2] == headers.get(b"host"):
            return
        if not {"*", origin.decode("latin-1")} & set(self._settings.cors):
            raise _RefusedError(403, "pages of other origins may not change what is kept; see --cors")

    def _has_turn(self, caller: str, rate: float) -> bool:
        """A bucket of as many requests as a second has, at least one, that fills again."""
        now, most = time.monotonic(), max(1.0, rate)
        left, since = self._rates.pop(caller, (most, now))
        left = min(most, left + (now - since) * rate)
        self._rates[caller] = (left - 1 if left >= 1 else left, now)
        if len(self._rates) > CALLERS:
            self._rates.popitem(last=False)
        return left >= 1

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        """The whole body; None where its sender went away."""
        limit = self._settings.body_limit
        parts, size, more = [], 0, True
        with _Within(self._settings.timeout):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                parts.append(message.get("body", b""))
                size, more = size + len(parts[-1]), message.get("more_body", False)
                if size > limit or (more and len(parts) == 1 and _announced(scope) > limit):
                    raise _RefusedError(413, f"a request has at most {limit:,} bytes")
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _tell(self, scope: Scope, name: str, status: int, seconds: float) -> None:
        self._metrics.tell(name, status, seconds)
        if _logger.isEnabledFor(logging.INFO):
            _logger.info(
                json.dumps({"path": name, "method": scope["method"], "status": status, "ms": round(1e3 * seconds, 2)})
            )


def _announced(scope: Scope) -> int:
    """Bytes that a request says it has; 0 where it doesn't say."""
    length = dict(scope["headers"]).get(b"content-length", b"")
    return int(length) if length.isdigit() else 0


async def _send(send: Send, answer: Reply) -> None:
    headers = list(answer.headers)
    if answer.status != 204:
        headers += [(b"content-type", answer.kind), (b"content-length", str(len(answer.body)).encode())]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
