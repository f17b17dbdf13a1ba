"""Requests a second of one worker: `python -m benchmarks.serving`.

The server has one core, wrk another, with 16 connections; each request is the history of a user of MovieLens 1M, its
last 50 items. The student has the shape of recipes/movielens-1m.yaml, a small Transformer, and random weights, since
time doesn't depend on them; the light one is the history encoder of width 44 of docs/experiments.md, 2026-11-25. In
turn, five times each: a raw ASGI application on uvicorn that returns such an answer ready-made; ours; ours with the
light student; a FastAPI route that does the work of ours; and ours with a click that is written to SQLite before each
answer. Needs wrk, and two cores with nothing beside.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import RESULTS, ROOT, write_result
from benchmarks.peers import environment
from distilrec.data import load
from distilrec.export import ids_of, write_bundle
from distilrec.models import HistoryEncoderConfig, build
from distilrec.recipe import read_recipe

__all__ = ["main"]

CONNECTIONS, REQUESTS, SESSIONS, PORT = 16, 1_000, 10_000, 8765
LIGHT = HistoryEncoderConfig(embedding_size=44, history_length=200)
SCRIPT = """
local bodies, at = {}, 0
for line in io.lines("BODIES") do bodies[#bodies + 1] = line end
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
request = function()
  at = at % #bodies + 1
  return wrk.format(nil, nil, nil, bodies[at])
end
"""


def write_bundles(folder: Path, light: Path, bodies: Path, clicks: Path) -> None:
    """Write two bundles, and what is asked of them: histories of users, and clicks of sessions."""
    recipe = read_recipe(ROOT / "recipes" / "movielens-1m.yaml")
    prepared = load(recipe.data)
    log, ids = prepared.split.log, ids_of(prepared)
    for config, place in ((recipe.student.model, folder), (LIGHT, light)):
        model = build(config, log.n_users, log.n_items, seed=0).eval()
        write_bundle(model, ids, prepared.split.queries("test"), place)
    queries, targets = prepared.split.queries("test")
    histories = [queries.histories[n : n + 1].flat()[1].tolist() for n in range(REQUESTS)]
    asked = [{"history": [ids.items[item] for item in each[-50:]], "k": 10} for each in histories]
    bodies.write_text("\n".join(map(json.dumps, asked)), encoding="utf-8")
    taken = [targets[n : n + 1].flat()[1].tolist()[0] for n in range(REQUESTS)]
    told = [{"session": f"s{n}", "item": ids.items[taken[n % REQUESTS]], "k": 10} for n in range(SESSIONS)]
    clicks.write_text("\n".join(map(json.dumps, told)), encoding="utf-8")


@contextlib.contextmanager
def running(command: Sequence[str], core: int, path: str) -> Iterator[None]:
    """A server on one core, from when it answers on."""
    variables = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(["taskset", "-c", str(core), *command], cwd=ROOT, env=variables)
    try:
        _wait(process, path)
        yield
    finally:
        process.terminate()
        process.wait()


def _wait(process: subprocess.Popen[bytes], path: str) -> None:
    for _ in range(600):
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended")
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}{path}", timeout=1)
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"{process.args!r} doesn't answer")


def load_with(bodies: Path, path: str, core: int, seconds: int) -> dict[str, float]:
    """What wrk measures: requests a second, p50 and p99 in milliseconds."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua", encoding="utf-8") as script:
        script.write(SCRIPT.replace("BODIES", str(bodies)))
        script.flush()
        url = f"http://127.0.0.1:{PORT}{path}"
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-s", script.name, url]
        said = subprocess.run(["taskset", "-c", str(core), *command], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said:
        raise RuntimeError(f"not all answers were good: {said}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    assert rate is not None
    return {"requests_per_second": float(rate[1]), "p50_ms": _latency(said, "50"), "p99_ms": _latency(said, "99")}


def _latency(said: str, percentile: str) -> float:
    found = re.search(rf"{percentile}%\s+([\d.]+)(us|ms|s)", said)
    assert found is not None
    return float(found[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[found[2]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure in turn, and write results/serving.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="of each round")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result")
    given = parser.parse_args(arguments)
    if shutil.which("wrk") is None or shutil.which("taskset") is None:
        parser.error("wrk and taskset are needed: apt install wrk util-linux")
    cores = sorted(os.sched_getaffinity(0))[:2]
    with tempfile.TemporaryDirectory() as own:
        bundle, light, bodies, clicks, answer = (Path(own, name) for name in ("a/bundle", "b/bundle", "q", "c", "r"))
        write_bundles(bundle, light, bodies, clicks)
        ours, small = (
            [sys.executable, "-m", "distilrec", "serve", str(each), "--port", str(PORT), "--quiet"]
            for each in (bundle, light)
        )
        with running(ours, cores[0], "/health"):
            asked = urllib.request.Request(
                f"http://127.0.0.1:{PORT}/recommend", bodies.read_text(encoding="utf-8").split("\n")[0].encode()
            )
            answer.write_bytes(urllib.request.urlopen(asked).read())
        raw = [sys.executable, "-m", "benchmarks.peers.raw_asgi", str(answer), str(PORT)]
        peer = [str(environment("fastapi")), "-m", "benchmarks.peers.fastapi_serving", str(bundle), str(PORT)]
        courses: dict[str, tuple[list[str], str, Path]] = {
            "raw ASGI": (raw, "/recommend", bodies),
            "distilrec serve": (ours, "/recommend", bodies),
            "distilrec serve, light": (small, "/recommend", bodies),
            "FastAPI": (peer, "/recommend", bodies),
            "distilrec serve, a click each": (ours, "/events", clicks),
        }
        found: dict[str, list[dict[str, float]]] = {name: [] for name in courses}
        for turn in range(given.rounds):
            for name, (command, path, told) in courses.items():
                place = ["--state", f"sqlite:{own}/{turn}-{len(found[name])}.db"] if "distilrec" in command else []
                with running([*command, *place], cores[0], "/health"):
                    load_with(told, path, cores[1], 1)
                    found[name].append(load_with(told, path, cores[1], given.seconds))
                print(f"round {turn + 1}: {name}: {found[name][-1]}", flush=True)
    print(write_result("serving", "python -m benchmarks.serving", _figures(found), _detail(found), folder=given.out))


def _figures(found: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    def ratio(a: str, b: str) -> float:
        """The median over rounds, each compared within itself."""
        pairs = zip(found[a], found[b], strict=True)
        return statistics.median(x["requests_per_second"] / y["requests_per_second"] for x, y in pairs)

    return {
        "fraction_of_raw_asgi": ratio("distilrec serve", "raw ASGI"),
        "fraction_of_raw_asgi_light": ratio("distilrec serve, light", "raw ASGI"),
        "speedup_vs_fastapi": ratio("distilrec serve", "FastAPI"),
        "p99_ms": statistics.median(each["p99_ms"] for each in found["distilrec serve"]),
        "fraction_of_raw_asgi_with_events": ratio("distilrec serve, a click each", "raw ASGI"),
    }


def _detail(found: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    return {"connections": CONNECTIONS, "runs": {name: list(each) for name, each in found.items()}}


if __name__ == "__main__":
    main()
