"""The least that an ASGI application can do: `python -m benchmarks.peers.raw_asgi ANSWER PORT`, ANSWER a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import uvicorn

ANSWER = Path(sys.argv[1]).read_bytes()
START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(ANSWER)).encode())],
}


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Read the request, and send the same bytes as always."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send(START)
    await send({"type": "http.response.body", "body": ANSWER})


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[2]), log_level="warning", access_log=False, lifespan="off")
