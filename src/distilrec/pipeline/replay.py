"""A finished run's held-out clicks, played against servers of its teacher and its students."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilrec.data import Prepared
from distilrec.data.split_kinds import TEST, VALIDATION
from distilrec.errors import ArtefactError, RecipeError, StateError
from distilrec.evaluation.statistics import Comparison, compare
from distilrec.export import ids_of, write_bundle
from distilrec.models import DotProductModel, Model
from distilrec.pipeline.plan import ALONE, DISTILLED, Plan, other_arms
from distilrec.pipeline.prepare import plan_of
from distilrec.pipeline.task import Context
from distilrec.recipe import read_recipe
from distilrec.report.html import write_text
from distilrec.rng import generator
from distilrec.runtime.manifest import MANIFEST
from distilrec.serving.replay import Replayed, Stream, play

__all__ = ["Course", "bundles", "replay", "stream_of"]

FOLDER = "replay"
K, PATIENCE = 10, 120.0  # seconds until a server must answer


@dataclass(frozen=True, eq=False)
class Course:
    """How one model fared. versus: NDCG@10 of the distilled student beside this one's, by user; None for itself."""

    name: str
    replayed: Replayed
    versus: Comparison | None = None

    def told(self) -> dict[str, Any]:
        """As plain numbers."""
        found, versus = self.replayed, self.versus
        return {
            "ndcg@10": float(found.ndcg.mean()),
            "recall@10": float((found.ranks >= 0).mean()),
            "recommend_ms": {f"p{p}": float(np.percentile(found.recommend_ms, p)) for p in (50, 99)},
            "click_ms": {f"p{p}": float(np.percentile(found.click_ms, p)) for p in (50, 99)},
            "requests_per_second": 2 * len(found.click_ms) / found.seconds,
            "distilled_minus_this": None
            if versus is None
            else {"ndcg@10": versus.difference, "ci95": versus.ci95, "p": versus.p_value},
        }


def replay(
    run: Path, *, clicks: int | None = None, connections: int = 16, on_click: Callable[[str, int, int], None]
) -> list[Course]:
    """Play them, one model after the other: the teacher's best member that can be served, the student alone, the
    distilled student, and the recipe's further students.

    Servers know of each user what training knew; validation clicks come first and count for nothing, test clicks are
    compared with what was recommended before each. clicks: play only the first so many. Bundles are kept in RUN/replay.
    Raises ArtefactError on a run that isn't finished.
    """
    context, plan = _opened(run)
    stream = stream_of(context.prepared, clicks)
    if not stream.counts.any():
        raise RecipeError(f"no test click is among the first {len(stream.users)}, and only those count; play more")
    found = []
    for name, folder in bundles(run).items():
        with tempfile.TemporaryDirectory() as own, _serving(folder, Path(own)) as url:
            count = [0]

            def tell(_: int, name: str = name, count: list[int] = count) -> None:
                count[0] += 1
                on_click(name, count[0], len(stream.users))

            found.append(Course(name, play(url, stream, k=K, connections=connections, on_click=tell)))
    rng = generator(plan.recipe.seed, "replay")
    distilled = next(course for course in found if course.name == DISTILLED)
    _, of = np.unique(
        [str(user) for user, counts in zip(stream.users, stream.counts, strict=True) if counts], return_inverse=True
    )

    def by_user(course: Course) -> NDArray[np.float64]:
        return np.bincount(of, course.replayed.ndcg) / np.bincount(of)

    courses = [
        course if course is distilled else replace(course, versus=compare(by_user(distilled), by_user(course), rng=rng))
        for course in found
    ]
    told = {course.name: course.told() for course in courses}
    write_text(run / FOLDER / "replay.json", json.dumps(told, indent=1) + "\n")
    return courses


def bundles(run: Path) -> dict[str, Path]:
    """Bundles of what is played, by name, written where they aren't there yet."""
    context, plan = _opened(run)
    names = {ALONE, DISTILLED}.union(*map(other_arms, plan.recipe.students))
    students = {arm.name: arm.trained[0].stage for arm in plan.arms if arm.name in names}
    for stage in (*(task.stage for task in plan.members), *students.values()):
        if not context.store.done(stage):
            raise ArtefactError(f"{run}: {stage.name!r} isn't trained; finish the run with: distilrec run")
    wanted = {}
    members = [task.stage for task in plan.members if isinstance(context.model(task.stage), DotProductModel)]
    if members:
        best = max(members, key=lambda stage: _validation(context.store.result(stage)))
        wanted[best.name.replace("member", "teacher", 1)] = best
    found = {}
    for name, stage in (wanted | students).items():
        folder = found[name] = run / FOLDER / f"{name.replace(' ', '-')}-{stage.key}"
        if not (folder / MANIFEST).exists():
            _write(context.model(stage), context.prepared, folder)
    return found


def _opened(run: Path) -> tuple[Context, Plan]:
    if not (run / "recipe.yaml").is_file():
        raise ArtefactError(
            f"{run}: no run to replay, it has no recipe.yaml; make one with: distilrec run RECIPE --out {run}"
        )
    recipe = read_recipe(run / "recipe.yaml")
    if recipe.crosses_domains:
        raise RecipeError(f"{run} has a run for each domain; replay one of them: {run}/DOMAIN")
    return plan_of(recipe, run)


def _validation(said: Mapping[str, Any]) -> float:
    """The best quality of a training."""
    return max((epoch["validation"] for epoch in said["curve"] if epoch["validation"] is not None), default=0.0)


def _write(model: Model, prepared: Prepared, folder: Path) -> None:
    """With the histories that it was trained on, and no later ones."""
    ids = replace(ids_of(prepared), histories=prepared.split.train.histories)
    folder.parent.mkdir(exist_ok=True)
    write_bundle(model, ids, prepared.split.queries("test"), folder)


def stream_of(prepared: Prepared, most: int | None = None) -> Stream:
    """The clicks after training, oldest first; where there are no times, each user's first ones before anyone's second
    ones."""
    split, dataset = prepared.split, prepared.dataset
    users, positions = split.log.flat()
    parts = split.part[positions]
    later = (parts == VALIDATION) | (parts == TEST)
    users, positions, of_test = users[later], positions[later], parts[later] == TEST
    times = split.log.times
    when = np.arange(len(users)) - np.searchsorted(users, users) if times is None else times[positions]
    order = np.argsort(when, kind="stable")[:most]
    user_ids, item_ids = dataset.user_ids.values.to_list(), dataset.item_ids.values.to_list()
    items = split.log.histories.values[positions]
    return Stream([user_ids[n] for n in users[order]], [item_ids[n] for n in items[order]], of_test[order])


@contextlib.contextmanager
def _serving(bundle: Path, own: Path) -> Iterator[str]:
    """A server in a process of its own, until it has answered that it is ready, and its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "distilrec", "serve", str(bundle), "--port", str(port), "--quiet"]
    log = (own / "log").open("wb")
    env = {name: value for name, value in os.environ.items() if name != "DISTILREC_KEYS"}
    process = subprocess.Popen([*command, "--state", f"sqlite:{own / 'state.db'}"], stdout=log, stderr=log, env=env)
    try:
        _wait(process, port, own / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()
        log.close()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        with contextlib.suppress(OSError):
            connection.request("GET", "/ready")
            if connection.getresponse().status == 200:
                connection.close()
                return
        connection.close()
        time.sleep(0.05)
    raise StateError(f"the server doesn't answer: {log.read_text(encoding='utf-8')[-1000:]}")
