"""A distilled student beside its Transformer teacher, served the same way: `python -m benchmarks.replay`.

Runs recipes/movielens-1m.yaml in runs/replay, with one seed, no controls and a light student besides, a history encoder
of width 128 with the recipe's own settings; or goes on there. The teacher is the best of its members. Measured in turn:
the models alone, 64 users of the test part at a time, on one core; their servers, asked by wrk for users on 16
connections, each of the two with a core of its own; and what `distilrec replay` finds, NDCG@10 on the stream of
held-out clicks. The figures are the light student's, and with `recipe_student_` before them the recipe's own. Needs
wrk, and two cores with nothing beside.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import RESULTS, ROOT, write_result
from benchmarks.serving import PORT, load_with, running
from distilrec.cli.progress import Display
from distilrec.models import HistoryEncoderConfig
from distilrec.pipeline import run
from distilrec.pipeline.replay import bundles, replay
from distilrec.recipe import Recipe, read_recipe
from distilrec.runtime import Served

__all__ = ["main"]

STUDENTS = {"": "light, distilled", "recipe_student_": "distilled student"}
BATCH, QUERIES = 64, 640
LIGHT = HistoryEncoderConfig(embedding_size=128, heads=8, history_length=200)


def recipe() -> Recipe:
    """That of MovieLens 1M, with what is replayed and nothing more."""
    whole = read_recipe(ROOT / "recipes" / "movielens-1m.yaml")
    evaluation = whole.evaluation.model_copy(update={"seeds": 1, "controls": ()})
    light = whole.student.model_copy(update={"model": LIGHT})
    return whole.model_copy(update={"evaluation": evaluation, "students": {"light": light}})


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, measure, and write results/replay.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay")
    parser.add_argument("--run", type=Path, default=ROOT / "runs" / "replay", help="the run's folder")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="of each round of wrk")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result")
    given = parser.parse_args(arguments)
    with Display() as display:
        run(recipe(), given.run, progress=display)
    folders = bundles(given.run)
    teacher = next(name for name in folders if name.startswith("teacher"))
    models = _of_models(folders, given.rounds)
    servers = _of_servers(folders, given.rounds, given.seconds)
    told = {course.name: course.told() for course in replay(given.run, on_click=lambda *_: None)}
    figures = {}
    for prefix, name in STUDENTS.items():
        figures[f"{prefix}model_throughput_vs_teacher"] = _ratio(models[name], models[teacher])
        figures[f"{prefix}server_throughput_vs_teacher"] = _ratio(servers[name], servers[teacher])
        figures[f"{prefix}quality_vs_teacher"] = told[name]["ndcg@10"] / told[teacher]["ndcg@10"]
    detail: dict[str, Any] = {
        "replayed": told,
        "model_queries_per_second": models,
        "server_requests_per_second": servers,
    }
    print(write_result("replay", "python -m benchmarks.replay", figures, detail, folder=given.out))
    print(json.dumps({**figures, **detail}, indent=1))


def _of_models(folders: dict[str, Path], rounds: int) -> dict[str, list[float]]:
    served = {name: Served.load(folder) for name, folder in folders.items()}
    found: dict[str, list[float]] = {name: [] for name in folders}
    for _ in range(rounds):
        for name, each in served.items():
            queries = each.held_out().queries[:QUERIES]
            begin = time.perf_counter()
            for first in range(0, QUERIES, BATCH):
                each.student.rank(queries[first : first + BATCH], 10)
            found[name].append(QUERIES / (time.perf_counter() - begin))
    return found


def _of_servers(folders: dict[str, Path], rounds: int, seconds: int) -> dict[str, list[float]]:
    cores = sorted(os.sched_getaffinity(0))[:2]
    found: dict[str, list[float]] = {name: [] for name in folders}
    with tempfile.TemporaryDirectory() as own:
        bodies = Path(own, "bodies")
        users = Served.load(next(iter(folders.values()))).users.values
        asked = np.random.default_rng(0).choice(len(users), 1_000, replace=False)
        bodies.write_text("\n".join(json.dumps({"user": users[place], "k": 10}) for place in asked), encoding="utf-8")
        for turn in range(rounds):
            for name, folder in folders.items():
                command = [sys.executable, "-m", "distilrec", "serve", str(folder), "--port", str(PORT), "--quiet"]
                with running([*command, "--state", f"sqlite:{own}/{turn}.{len(found[name])}.db"], cores[0], "/health"):
                    load_with(bodies, "/recommend", cores[1], 1)
                    found[name].append(load_with(bodies, "/recommend", cores[1], seconds)["requests_per_second"])
    return found


def _ratio(a: Sequence[float], b: Sequence[float]) -> float:
    """The median over rounds, each compared within itself."""
    return statistics.median(x / y for x, y in zip(a, b, strict=True))


if __name__ == "__main__":
    main()
