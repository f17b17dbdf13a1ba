"""A FastAPI route that does the work of ours: `python -m benchmarks.peers.fastapi_serving BUNDLE PORT`.

Pydantic models in and out, as FastAPI's documentation has it; the student and its arithmetic are those of DistilRec.
"""

from __future__ import annotations

import sys
from pathlib import Path

import fastapi
import uvicorn
from pydantic import BaseModel, Field

from distilrec.runtime import Served
from distilrec.serving.engine import Engine
from distilrec.serving.requests import Query

ENGINE = Engine(Served.load(Path(sys.argv[1])))
app = fastapi.FastAPI()


class Asked(BaseModel):
    """A query."""

    history: list[int]
    k: int = Field(default=10, ge=1, le=1_000)


class Item(BaseModel):
    """An item of an answer."""

    item: int
    title: str
    score: float


class Answer(BaseModel):
    """The best items."""

    items: list[Item]


@app.post("/recommend")  # type: ignore[untyped-decorator, unused-ignore]
async def recommend(asked: Asked) -> Answer:
    """The best items after a history."""
    [found] = ENGINE.answer([ENGINE.ask(Query(history=list(asked.history), k=asked.k), ())])
    return Answer(items=[Item(item=int(each.item), title=each.title, score=each.score) for each in found])


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[2]), log_level="warning", access_log=False)
