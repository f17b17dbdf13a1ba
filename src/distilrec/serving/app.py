"""HTTP: routes, and what stands before them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from distilrec.errors import DataError, StateError
from distilrec.serving.guard import Guard, TooLargeError, TooSlowError
from distilrec.serving.metrics import Metrics
from distilrec.serving.openapi import docs, openapi
from distilrec.serving.requests import Answers, Event, NewItems, Queries, Query
from distilrec.serving.service import Service
from distilrec.serving.settings import Settings

__all__ = ["create_app"]

T = TypeVar("T")
Handler: TypeAlias = Callable[[Request], Awaitable[Response]]
JSON = "application/json"
_logger = logging.getLogger("distilrec.serving")


def create_app(settings: Settings) -> ASGIApp:
    """The application for an ASGI server; raises ArtefactError where the bundle can't be served."""
    metrics = Metrics()
    api = _Api(Service.of(settings), metrics)
    app = Starlette(
        routes=[
            Route("/recommend", api.recommend, methods=["POST"]),
            Route("/recommend/batch", api.recommend_batch, methods=["POST"]),
            Route("/events", api.events, methods=["POST"]),
            Route("/items", api.items, methods=["POST"]),
            Route("/users/{user:path}", api.forget_user, methods=["DELETE"]),
            Route("/sessions/{session:path}", api.forget_session, methods=["DELETE"]),
            Route("/health", api.health),
            Route("/ready", api.ready),
            Route("/metrics", api.metrics),
            Route("/openapi.json", api.openapi),
            Route("/docs", api.docs),
            *([] if settings.web is None else [Mount("/", StaticFiles(directory=settings.web, html=True))]),
        ],
        exception_handlers={
            DataError: _refused,
            StateError: _unreachable,
            TooLargeError: _refused,
            TooSlowError: _refused,
            msgspec.DecodeError: _refused,
            UnicodeDecodeError: _refused,
            ClientDisconnect: _refused,
        },
        lifespan=api.lifespan,
    )
    guarded = Guard(app, settings, metrics)
    if not settings.cors:
        return guarded
    # Outside of the guard: browsers ask beforehand, without a key.
    return CORSMiddleware(guarded, allow_origins=settings.cors, allow_methods=["*"], allow_headers=["*"])


class _Api:
    def __init__(self, service: Service, metrics: Metrics) -> None:
        self.service, self._metrics = service, metrics
        self._spec, self._page = msgspec.json.encode(openapi()), docs()
        self._query, self._event = msgspec.json.Decoder(Query), msgspec.json.Decoder(Event)
        self._queries, self._new = msgspec.json.Decoder(Queries), msgspec.json.Decoder(NewItems)

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Watch for new bundles and items, and let go of the state after the last request."""
        await self.service.refresh()
        woken = asyncio.Event()
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # not in the main thread, or Windows
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, woken.set)
        watching = asyncio.create_task(self._watch(woken))
        yield
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        await self.service.close()

    async def _watch(self, woken: asyncio.Event) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), self.service.settings.watch or None)
            woken.clear()
            try:
                if await self.service.refresh():
                    self._metrics.bundles.inc()
            except Exception:  # the next look may go better
                _logger.exception("looking for a new bundle failed")

    async def recommend(self, request: Request) -> Response:
        [answer] = await self.service.recommend([self._query.decode(await request.body())])
        self._metrics.degraded.inc(answer.degraded)
        return _json(answer)

    async def recommend_batch(self, request: Request) -> Response:
        answers = await self.service.recommend(self._queries.decode(await request.body()).queries)
        self._metrics.degraded.inc(sum(answer.degraded for answer in answers))
        return _json(Answers(answers))

    async def events(self, request: Request) -> Response:
        stored = await self.service.click(self._event.decode(await request.body()))
        self._metrics.degraded.inc(stored.degraded)
        return _json(stored)

    async def items(self, request: Request) -> Response:
        return _json({"items": await self.service.add_items(self._new.decode(await request.body()).items)})

    async def forget_user(self, request: Request) -> Response:
        await self.service.forget(request.path_params["user"], None)
        return Response(status_code=204)

    async def forget_session(self, request: Request) -> Response:
        await self.service.forget(None, request.path_params["session"])
        return Response(status_code=204)

    async def health(self, _: Request) -> Response:
        return _json({"status": "up"})

    async def ready(self, _: Request) -> Response:
        """Whether requests are answered in full; 503 says what isn't as it should be."""
        service, served = self.service, self.service.engine.served
        told: dict[str, Any] = {
            "items": len(served.items),
            "users": len(served.users),
            "student": served.manifest.student.model,
            "refused_bundle": service.refused,
        }
        try:
            await service.state.taken(["ready"])
        except StateError as error:
            return _json({**told, "state": str(error)}, 503)
        return _json({**told, "state": "reached"})

    async def metrics(self, _: Request) -> Response:
        return Response(self._metrics.text(), media_type="text/plain; version=0.0.4")

    async def openapi(self, _: Request) -> Response:
        return Response(self._spec, media_type=JSON)

    async def docs(self, _: Request) -> Response:
        return Response(self._page, media_type="text/html")


def _json(content: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type=JSON)


async def _refused(_: Request, error: Exception) -> Response:
    status = {TooLargeError: 413, TooSlowError: 408}.get(type(error), 400)
    return _json({"error": str(error)}, status)


async def _unreachable(_: Request, error: Exception) -> Response:
    response = _json({"error": f"nothing was kept, the state can't be reached: {error}; try again"}, 503)
    response.headers["retry-after"] = "1"
    return response
