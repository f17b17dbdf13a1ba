"""What a server loses, and what it answers, when things go wrong: `python -m benchmarks.faults`.

1. It is killed (SIGKILL) under load, 50 times: each click that was acknowledged must be in its state afterwards, while
   bundles are put into its folder now and then, of which it must serve one or the other whole.
2. Redis is stopped and started under load: answers go on, degraded, clicks are refused, and both recover.
3. Its disk is full: clicks that can't be kept are refused, those that were acknowledged are there, answers go on.
4. 10,000 malformed requests, flooding connections, and clients that stop sending: nothing but 4xx and 503.
5. Good requests for a while: how much the memory grows, after a warm-up.

Clients are plain sockets and threads of this process. Needs redis-server.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import random
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import RESULTS, ROOT, write_result
from distilrec.export import BundleIds, write_bundle
from distilrec.models import HistoryEncoderConfig, Model, build
from distilrec.ranking import rank
from distilrec.scoring import Queries, Ragged

__all__ = ["main"]

PORT, N_ITEMS, CLIENTS = 8766, 500, 8
SOUGHT = "SELECT item FROM clicks WHERE key = ? ORDER BY number"
PLACES = ("/recommend", "/recommend/batch", "/events", "/items", "/users/a", "/sessions/a", "/openapi.json", "/x")


@dataclass
class Server:
    """A server process, started again after each kill."""

    bundle: Path
    state: str
    process: subprocess.Popen[bytes] | None = None

    def start(self, largest: int | None = None) -> None:
        """Start, and wait until it answers. largest: bytes of a file that it may write, as on a full disk."""

        def limit() -> None:
            if largest is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))

        command = [sys.executable, "-m", "distilrec", "serve", str(self.bundle), "--port", str(PORT)]
        variables = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}", "OMP_NUM_THREADS": "1"}
        log = (self.bundle.parent / "server.log").open("ab")
        more = ["--state", self.state, "--quiet", "--watch", "0.2"]
        self.process = subprocess.Popen(
            [*command, *more], cwd=ROOT, env=variables, stdout=log, stderr=log, preexec_fn=limit
        )
        log.close()
        for _ in range(600):
            if ask("GET", "/health")[0] == 200:
                return
            time.sleep(0.02)
        raise RuntimeError(f"the server doesn't start; see {self.bundle.parent / 'server.log'}")

    def end(self, how: int = signal.SIGTERM) -> None:
        """Send a signal, and wait."""
        assert self.process is not None
        self.process.send_signal(how)
        self.process.wait()

    def memory(self) -> int:
        """Bytes of it that are in memory."""
        assert self.process is not None
        told = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return 1024 * int(next(line for line in told.splitlines() if line.startswith("VmRSS")).split()[1])


def ask(method: str, path: str, content: Any = None, timeout: float = 5) -> tuple[int, Any]:
    """The status, or 0 where there was no answer, and what was answered."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=timeout)
    try:
        connection.request(method, path, None if content is None else json.dumps(content))
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, json.loads(body) if body[:1] in b"{[" and body else None
    except (OSError, http.client.HTTPException):
        return 0, None
    finally:
        connection.close()


@dataclass
class Load:
    """Clients that click and ask without a pause, and what they were told."""

    kept: dict[str, list[int]] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)
    degraded: int = 0
    answers: set[tuple[int, ...]] = field(default_factory=set)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    @contextmanager
    def running(self) -> Iterator[None]:
        """From many threads until the end of the block."""
        self._over = threading.Event()
        threads = [threading.Thread(target=self._client, args=(n,)) for n in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def _client(self, number: int) -> None:
        name = f"client {number}"
        kept = self.kept.setdefault(name, [])
        while not self._over.is_set():
            item = N_ITEMS + next(self.numbers)  # each once; the catalogue needn't know it
            status, _ = ask("POST", "/events", {"session": name, "item": item})
            self.statuses[status] += 1
            if status == 200:
                kept.append(item)
            status, answer = ask("POST", "/recommend", {"history": [1, 2, 3], "k": 5})
            self.statuses[status] += 1
            if status == 200:
                self.answers.add(tuple(each["item"] for each in answer["items"]))
                self.degraded += answer["degraded"]


def bundle_of(folder: Path, seed: int) -> Model:
    """Write one; two seeds answer otherwise."""
    model = build(
        HistoryEncoderConfig(embedding_size=16, history_length=20, init_std=0.3), 1, N_ITEMS, seed=seed
    ).eval()
    ids = BundleIds(range(N_ITEMS), [f"Item {n}" for n in range(N_ITEMS)], [0], Ragged.from_rows([[0]]))
    asked = Queries(np.array([0], np.int32), Ragged.from_rows([[1, 2, 3]]))
    write_bundle(model, ids, (asked, Ragged.from_rows([[4]])), folder)
    return model


def kills(own: Path, times: int) -> dict[str, float]:
    """Kill it under load, again and again, while bundles come and go."""
    bundle, lost, total = own / "bundle", 0, 0
    asked = Queries(np.array([-1], np.int32), Ragged.from_rows([[1, 2, 3]]))
    whole = {tuple(rank(bundle_of(bundle, seed), asked, 5)[0][0].tolist()) for seed in (0, 1)}
    server = Server(bundle, f"sqlite:{own / 'state.db'}")
    load, rng = Load(), random.Random(0)
    for turn in range(times):
        bundle_of(bundle, seed=turn % 2)
        server.start()
        with load.running():
            time.sleep(rng.uniform(0.1, 0.6))
            bundle_of(bundle, seed=(turn + 1) % 2)
            time.sleep(rng.uniform(0.0, 0.6))
            server.end(signal.SIGKILL)
        print(f"kill {turn + 1}: {sum(map(len, load.kept.values()))} clicks acknowledged", flush=True)
    for name, items in load.kept.items():
        recent = items[-1_000 + times :]  # of each session the last 1,000 are kept; some weren't acknowledged
        kept = [item for item in clicks_of(own / "state.db", name) if item in set(recent)]
        lost += len(set(recent) - set(kept)) + (kept != recent and set(kept) == set(recent))  # in their order, too
        total += len(recent)
    return {
        "acknowledged": total,
        "lost": lost,
        "half_loaded": len(load.answers - whole),
        "server_errors": sum(count for status, count in load.statuses.items() if status >= 500 and status != 503),
    }


def clicks_of(database: Path, session: str) -> list[int]:
    """What the state has of a session, in order."""
    with sqlite3.connect(database) as opened:
        rows = opened.execute(SOUGHT, (f"session:{session}",)).fetchall()
    return [int(item) for (item,) in rows]


def full_disk(own: Path) -> dict[str, float]:
    """Click until nothing more can be kept, and ask after that."""
    bundle_of(own / "bundle", seed=0)
    server = Server(own / "bundle", f"sqlite:{own / 'state.db'}")
    server.start(largest=500_000)
    kept: dict[str, set[int]] = {}
    statuses: Counter[int] = Counter()
    for item in range(3_000):
        name = f"session {item % 50}"
        status, _ = ask("POST", "/events", {"session": name, "item": item})
        statuses[status] += 1
        if status == 200:
            kept.setdefault(name, set()).add(item)
    answered, _ = ask("POST", "/recommend", {"session": "session 0", "k": 5})
    server.end()
    lost = sum(len(items - set(clicks_of(own / "state.db", name))) for name, items in kept.items())
    print(dict(statuses), flush=True)
    return {
        "acknowledged": statuses[200],
        "refused": statuses[503],
        "lost": lost,
        "answered": float(answered == 200),
        "server_errors": sum(count for status, count in statuses.items() if status >= 500 and status != 503),
    }


def redis_stops(own: Path) -> dict[str, float]:
    """Stop Redis under load, and start it again."""
    command = ["redis-server", "--port", "0", "--unixsocket", str(own / "redis.sock"), "--dir", str(own), "--save", ""]
    command += ["--appendonly", "yes", "--appendfsync", "always"]

    def started() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, stdout=subprocess.DEVNULL)

    redis = started()
    time.sleep(0.5)
    bundle_of(own / "bundle", seed=0)
    server, load = Server(own / "bundle", f"unix://{own / 'redis.sock'}"), Load()
    server.start()
    refused = 0
    with load.running():
        time.sleep(1)
        before = load.statuses[503]
        redis.terminate()
        redis.wait()
        asked = [ask("POST", "/recommend", {"session": "other", "k": 5}) for _ in range(50)]
        refused = load.statuses[503] - before
        redis = started()
        time.sleep(1)
        recovered = ask("POST", "/recommend", {"session": "other", "k": 5})
    server.end()
    redis.terminate()
    redis.wait()
    return {
        "answered_without": sum(status == 200 and answer["degraded"] for status, answer in asked) / len(asked),
        "clicks_refused": refused,
        "recovered": float(recovered[0] == 200 and not recovered[1]["degraded"]),
        "server_errors": sum(count for status, count in load.statuses.items() if status >= 500 and status != 503),
    }


def malformed(rng: random.Random) -> bytes:
    """A request that is wrong in one way or another, or in several."""
    method = rng.choice(["POST", "POST", "GET", "PUT", "DELETE", "BREW", "", "P\x00ST"])
    path = rng.choice(PLACES) + rng.choice(["", "", "?" + "x" * rng.randrange(9_000), "/../..", "%00", "%zz", "\xff"])
    values: list[Any] = [None, True, -1, 0, 1e308, "", "x" * 5_000, [], {}, [[]], {"a": {}}, "\ud800", 2**70, [1] * 50]
    names = ["user", "session", "history", "k", "text", "allow", "deny", "where", "queries", "items", "item", "vectors"]
    body = json.dumps({rng.choice(names): rng.choice(values) for _ in range(rng.randrange(5))}).encode()
    noise = bytes(rng.randrange(256) for _ in range(rng.randrange(200)))
    body = rng.choice([body, body[: rng.randrange(len(body) + 1)], noise, b"[" * 100_000, body + b"}}"])
    length = rng.choice([str(len(body))] * 6 + ["-1", "x", str(10**12), "", str(max(0, len(body) - 1))])
    headers = rng.choice(["", "X-API-Key: \x01\r\n", "A: " + "b" * 20_000 + "\r\n", "Transfer-Encoding: chunked\r\n"])
    head = f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n{headers}Connection: close\r\n\r\n"
    return head.encode("latin-1", "replace") + body


def nonsense(own: Path, times: int) -> dict[str, float]:
    """Send it malformed requests, connections that say nothing, and clients that stop in the middle."""
    bundle_of(own / "bundle", seed=0)
    server, statuses = Server(own / "bundle", f"sqlite:{own / 'state.db'}"), Counter[int]()
    server.start()
    silent = [socket.create_connection(("127.0.0.1", PORT)) for _ in range(500)]
    for connection in silent[:250]:
        connection.sendall(b"POST /recommend HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
    begin = time.monotonic()
    good = all(ask("POST", "/recommend", {"history": [1], "k": 5})[0] == 200 for _ in range(100))
    while_flooded = time.monotonic() - begin
    lock = threading.Lock()

    def client(number: int) -> None:
        rng = random.Random(number)
        for _ in range(times // CLIENTS):
            status = _raw(malformed(rng))
            with lock:
                statuses[status] += 1

    threads = [threading.Thread(target=client, args=(n,)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for connection in silent:
        connection.close()
    alive = ask("POST", "/recommend", {"history": [1], "k": 5})[0] == 200
    server.end()
    print(dict(statuses), flush=True)
    return {
        "requests": sum(statuses.values()),
        "server_errors": sum(count for status, count in statuses.items() if status >= 500 and status != 503),
        "alive": float(alive and good),
        "ms_while_flooded": 10 * while_flooded,
    }


def _raw(request: bytes) -> int:
    """Send bytes; the status, or 0 where the server hung up or waits for more."""
    try:
        with socket.create_connection(("127.0.0.1", PORT), timeout=0.5) as connection:
            connection.sendall(request)
            said = connection.recv(100)
        return int(said.split()[1]) if said.startswith(b"HTTP/1.1 ") else 0
    except (OSError, ValueError, IndexError):
        return 0


def soak(own: Path, seconds: float) -> dict[str, float]:
    """Ask good things for a while, and watch its memory."""
    bundle_of(own / "bundle", seed=0)
    server, load = Server(own / "bundle", f"sqlite:{own / 'state.db'}"), Load()
    server.start()
    with load.running():
        time.sleep(seconds / 4)
        first = server.memory()
        time.sleep(seconds * 3 / 4)
        last = server.memory()
    server.end()
    return {"first_mib": first / 2**20, "last_mib": last / 2**20, "requests": sum(load.statuses.values())}


def main(arguments: Sequence[str] | None = None) -> None:
    """Do all, and write results/faults.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--requests", type=int, default=10_000, help="malformed ones")
    parser.add_argument("--soak", type=float, default=600, help="seconds of good requests")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result")
    given = parser.parse_args(arguments)
    if shutil.which("redis-server") is None:
        parser.error("redis-server is needed: apt install redis-server")
    found: dict[str, dict[str, float]] = {}
    parts: dict[str, Callable[[Path], dict[str, float]]] = {
        "kills": lambda own: kills(own, given.kills),
        "redis": redis_stops,
        "disk": full_disk,
        "malformed": lambda own: nonsense(own, given.requests),
        "soak": lambda own: soak(own, given.soak),
    }
    for name, part in parts.items():
        with tempfile.TemporaryDirectory() as own:
            found[name] = part(Path(own))
            print(f"{name}: {found[name]}", flush=True)
    grown = found["soak"]["last_mib"] / found["soak"]["first_mib"] - 1
    figures = {
        "acknowledged_events_lost": found["kills"]["lost"] + found["disk"]["lost"],
        "half_loaded_answers": found["kills"]["half_loaded"],
        "server_errors": sum(each.get("server_errors", 0) for each in found.values()),
        "memory_growth_percent": 100 * grown,
    }
    command = f"python -m benchmarks.faults --kills {given.kills} --requests {given.requests} --soak {given.soak:g}"
    detail: dict[str, Any] = dict(found)
    print(write_result("faults", command, figures, detail, folder=given.out))


if __name__ == "__main__":
    main()
