"""The server as an ASGI application: what each route does."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Mount
from starlette.types import ASGIApp

from distilrec.errors import StateError
from distilrec.serving.guard import Guard, Reply, Routes, reply
from distilrec.serving.metrics import Metrics
from distilrec.serving.openapi import docs, openapi
from distilrec.serving.page import Page
from distilrec.serving.requests import Answers, Event, NewItems, Queries, Query
from distilrec.serving.service import Service
from distilrec.serving.settings import Settings

__all__ = ["create_app"]

EXPIRES = 3_600  # seconds between looks for clicks to forget
_logger = logging.getLogger("distilrec.serving")


def create_app(settings: Settings) -> ASGIApp:
    """The application for an ASGI server; raises ArtefactError where the bundle can't be served."""
    metrics = Metrics()
    api = _Api(Service.of(settings), metrics)
    # Paths that aren't ours: the page, if there is one. Starting and stopping.
    page = [] if settings.web is None else [Mount("/", Page(settings.web))]
    guarded = Guard(api.routes(), Starlette(routes=page, lifespan=api.lifespan), settings, metrics)
    if not settings.cors:
        return guarded
    # Outside of the guard: browsers ask beforehand, without a key.
    return CORSMiddleware(guarded, allow_origins=settings.cors, allow_methods=["*"], allow_headers=["*"])


class _Api:
    def __init__(self, service: Service, metrics: Metrics) -> None:
        self.service, self._metrics = service, metrics
        self._spec, self._page = msgspec.json.encode(openapi()), docs().encode()
        self._query, self._event = msgspec.json.Decoder(Query), msgspec.json.Decoder(Event)
        self._queries, self._new = msgspec.json.Decoder(Queries), msgspec.json.Decoder(NewItems)

    def routes(self) -> Routes:
        """All of them."""
        return {
            "/recommend": {"POST": self.recommend},
            "/recommend/batch": {"POST": self.recommend_batch},
            "/events": {"POST": self.events},
            "/items": {"POST": self.items},
            "/users/...": {"DELETE": self.forget_user},
            "/sessions/...": {"DELETE": self.forget_session},
            "/health": {"GET": self.health},
            "/ready": {"GET": self.ready},
            "/metrics": {"GET": self.metrics},
            "/openapi.json": {"GET": self.openapi},
            "/docs": {"GET": self.docs},
        }

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Watch for new bundles and items, and let go of the state after the last request."""
        await self.service.refresh()
        woken = asyncio.Event()
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # not in the main thread, or Windows
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, woken.set)
        beside = [asyncio.create_task(each) for each in (self._watch(woken), self._expire())]
        yield
        for task in beside:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self.service.close()

    async def _watch(self, woken: asyncio.Event) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), self.service.settings.watch or None)
            asked = woken.is_set()
            woken.clear()
            try:
                if await self.service.refresh(again=asked):
                    self._metrics.bundles.inc()
            except Exception:  # the next look may go better
                _logger.exception("looking for a new bundle failed")

    async def _expire(self) -> None:
        while True:
            try:
                await self.service.state.expire()
            except StateError as error:
                _logger.warning("old clicks can't be forgotten now: %s", error)
            await asyncio.sleep(EXPIRES)

    async def recommend(self, body: bytes, _: str) -> Reply:
        [answer] = await self.service.recommend([self._query.decode(body)])
        if answer.degraded:
            self._metrics.degraded.inc()
        return reply(answer)

    async def recommend_batch(self, body: bytes, _: str) -> Reply:
        answers = await self.service.recommend(self._queries.decode(body).queries)
        self._metrics.degraded.inc(sum(answer.degraded for answer in answers))
        return reply(Answers(answers))

    async def events(self, body: bytes, _: str) -> Reply:
        stored = await self.service.click(self._event.decode(body))
        if stored.degraded:
            self._metrics.degraded.inc()
        return reply(stored)

    async def items(self, body: bytes, _: str) -> Reply:
        return reply({"items": await self.service.add_items(self._new.decode(body).items)})

    async def forget_user(self, _: bytes, user: str) -> Reply:
        await self.service.forget(user, None)
        return Reply(b"", 204)

    async def forget_session(self, _: bytes, session: str) -> Reply:
        await self.service.forget(None, session)
        return Reply(b"", 204)

    async def health(self, _: bytes, __: str) -> Reply:
        return reply({"status": "up"})

    async def ready(self, _: bytes, __: str) -> Reply:
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
            return reply({**told, "state": str(error)}, 503)
        return reply({**told, "state": "reached"})

    async def metrics(self, _: bytes, __: str) -> Reply:
        return Reply(self._metrics.text(), kind=b"text/plain; version=0.0.4; charset=utf-8")

    async def openapi(self, _: bytes, __: str) -> Reply:
        return Reply(self._spec)

    async def docs(self, _: bytes, __: str) -> Reply:
        return Reply(self._page, kind=b"text/html; charset=utf-8")
