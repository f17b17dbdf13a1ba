"""What a server does with connections that never become a request, over real sockets."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from distilrec.serving import protocol

REQUEST = b"GET / HTTP/1.1\r\nhost: here\r\n"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(protocol, "SECONDS", 0.5)
    config = uvicorn.Config(app, port=0, http=protocol.BoundedProtocol, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


def talk(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """Send the parts, and read until the other side closes or has been silent for two seconds."""
    with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        found = b""
        try:
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
            while part := connection.recv(65_536):
                found += part
        except TimeoutError:
            return found + b"(open)"
        except OSError:
            return found + b"(reset)"
        return found


def test_requests_are_answered_and_connections_kept(port: int) -> None:
    whole = REQUEST + b"\r\n"
    assert talk(port, whole, whole, pause=0.1).count(b"200 OK") == 2
    assert talk(port, REQUEST, b"\r\n", pause=0.1).count(b"200 OK") == 1
    # Time is counted anew for each request.
    assert talk(port, whole, whole, whole, pause=0.4).count(b"200 OK") == 3


def test_headers_that_come_too_slowly(port: int) -> None:
    assert talk(port) == b""
    assert talk(port, REQUEST) == b""
    assert talk(port, REQUEST, b"a: b\r\n", b"c: d\r\n", pause=0.3) in (b"", b"(reset)")
    found = talk(port, REQUEST + b"\r\n", REQUEST, pause=0.1)
    assert found.startswith(b"HTTP/1.1 200")
    assert not found.endswith(b"(open)")


def test_headers_that_are_too_large(port: int) -> None:
    large = [b"x: " + b"y" * 30_000 + b"\r\n"] * 3
    found = talk(port, REQUEST, *large, pause=0.02)
    assert found.startswith(b"HTTP/1.1 400") or found == b"(reset)"
    assert talk(port, REQUEST, large[0], b"\r\n").count(b"200 OK") == 1
