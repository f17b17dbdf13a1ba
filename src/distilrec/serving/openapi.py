"""The description of the interface, made of the types that the routes read and write, and a page to try it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

import distilrec
from distilrec.serving.requests import Answer, Answers, Event, NewItems, Queries, Query, Refusal, Stored

__all__ = ["docs", "openapi"]

TYPES = (Query, Queries, Answer, Answers, Event, Stored, NewItems, Refusal)
POSTS = {
    "/recommend": ("Recommend for a user, a session or a history", Query, Answer),
    "/recommend/batch": ("Recommend for several at once", Queries, Answers),
    "/events": ("Tell of a click, which changes the next answer", Event, Stored),
    "/items": ("Add items that are recommended at once, by their content", NewItems, None),
}
DELETES = {"/users/{user}": "Delete what a user clicked", "/sessions/{session}": "Delete what a session clicked"}
GETS = {
    "/health": ("Whether the process is up", "application/json"),
    "/ready": ("Whether requests are answered in full; 503 where state can't be reached", "application/json"),
    "/metrics": ("For Prometheus", "text/plain"),
}


def openapi() -> dict[str, Any]:
    """OpenAPI 3.1, as a dictionary."""
    _, parts = msgspec.json.schema_components(TYPES, ref_template="#/components/schemas/{name}")
    paths: dict[str, Any] = {}
    for path, (summary, given, answer) in POSTS.items():
        paths[path] = {"post": {**_operation(summary, answer), "requestBody": {"required": True, **_content(given)}}}
    for path, summary in DELETES.items():
        name = path[path.index("{") + 1 : -1]
        parameter = {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        deleted = {**_refusals(), "204": {"description": "Nothing is kept of it"}}
        paths[path] = {"delete": {"summary": summary, "parameters": [parameter], "responses": deleted}}
    for path, (summary, kind) in GETS.items():
        paths[path] = {"get": _operation(summary, None, kind)}
    paths["/ready"]["get"]["responses"]["503"] = {"description": "Not in full", "content": {"application/json": {}}}
    keys = {"key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "DistilRec", "version": distilrec.__version__},
        "paths": paths,
        "components": {"schemas": parts, "securitySchemes": keys},
        "security": [{}, {"key": []}],
    }


def docs() -> str:
    """The page."""
    return (Path(__file__).parent / "docs.html").read_text(encoding="utf-8")


def _operation(summary: str, answer: type | None, kind: str = "application/json") -> dict[str, Any]:
    body = {"content": {kind: {"schema": {}}}} if answer is None else _content(answer)
    return {"summary": summary, "responses": {"200": {"description": "Done", **body}, **_refusals()}}


def _refusals() -> dict[str, Any]:
    told = {
        "400": "What was asked can't be read, or names what there isn't",
        "401": "A key is needed",
        "408": "The request came too slowly",
        "413": "The request is too large",
        "429": "Too many requests",
        "503": "Not now; come back in a second",
    }
    return {status: {"description": why, **_content(Refusal)} for status, why in told.items()}


def _content(kind: type) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{kind.__name__}"}}}}
