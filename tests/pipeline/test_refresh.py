"""A run that goes on from yesterday's: same numbering, same teacher, old labels and weights, drift reported."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from distilrec.bundle import Bundle
from distilrec.data import Columns, Snapshot, clusters, from_dataframe
from distilrec.errors import ArtefactError, RecipeError
from distilrec.models import load_model
from distilrec.pipeline import Progress, explain, report_again, run, run_part
from distilrec.pipeline.refresh import new_queries
from distilrec.pipeline.task import Context, Task
from distilrec.recipe import Recipe, write_recipe
from distilrec.report import Report

NEW_ITEM = "new"
COLUMNS = Columns(user="user", item="item", time="time")


class Quiet:
    """Counts what a run does."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    def begin(self, to_do: int, done: int) -> None: ...

    def step(self, stage: str, done: int, of: int, text: str) -> None: ...

    def end(self, stage: str, seconds: float) -> None:
        self.ended.append(stage)


def recipe(source: Path, since: Path | None = None, **changed: Any) -> Recipe:
    training = {"epochs": 3, "batch_size": 64, "learning_rate": 0.02}
    content = {
        "data": {"source": str(source)},
        "teacher": [
            {
                "name": "encoder",
                "model": {"model": "history_encoder", "embedding_size": 8, "history_length": 6},
                "training": {**training, "epochs": 6},
            }
        ],
        "record": {"k": 5, "tail": 3},
        "student": {"model": {"model": "history_encoder", "embedding_size": 4, "history_length": 6}},
        "alone": {"training": training},
        "distilled": {"training": training, "distillation": {"alpha": 1.0, "tail": "sampled"}},
        "evaluation": {"metrics": ["ndcg@10"], "seeds": 1, "controls": ["label smoothing"], "widths": [2]},
        "since": None if since is None else str(since),
    }
    return Recipe.model_validate({**content, **changed})


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three days: on the second, ten users go on, one of them with a new item, and a new user comes."""
    log = clusters(n_users=60, n_items=24, n_clusters=3, length=8).interactions
    users, positions = log.flat()
    first = pl.DataFrame({"user": users, "item": [f"i{n}" for n in log.histories.values[positions]], "time": positions})
    left = [[f"i{n}" for n in range(24) if n not in log.histories[u : u + 1].flat()[1]] for u in range(10)]
    rows = [(u, left[u][n], 1000 + n) for u in range(10) for n in range(3)]
    rows += [(5, NEW_ITEM, 1010), (5, left[5][3], 1011), (5, left[5][4], 1012)]
    rows += [(99, f"i{n}", 1020 + n) for n in range(4)]
    second = pl.concat([first, pl.DataFrame(rows, schema=first.schema, orient="row")])
    third = pl.concat([second[1:], pl.DataFrame([(7, left[7][3], 2000)], schema=first.schema, orient="row")])
    folder = tmp_path_factory.mktemp("logs")
    for n, day in enumerate((first, second, third)):
        day.write_parquet(folder / f"{n}.parquet")
    return [folder / f"{n}.parquet" for n in range(3)]


def at_once(tasks: Sequence[Task], context: Context, *, jobs: int | None = None, progress: Progress) -> None:
    """What `run_tasks` does, without processes of its own; tests/pipeline/test_run.py runs those."""
    for task in tasks:
        if not context.store.done(task.stage):
            result = task.execute(context, lambda done, of, text: None)
            context.store.finish(task.stage, {**result, "seconds": 0.0})
            progress.end(task.stage.name, 0.0)


@pytest.fixture(scope="module")
def days(logs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, Report, list[str]]]:
    found: list[tuple[Path, Report, list[str]]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["distilrec.pipeline.run"], "run_tasks", at_once)
        for n, log in enumerate(logs):
            out, counter = tmp_path_factory.mktemp(f"day{n}"), Quiet()
            report = run(recipe(log, found[-1][0] if found else None), out, progress=counter)
            found.append((out, report, counter.ended))
    return found


def stage(out: Path, name: str) -> Path:
    return out / "stages" / json.loads((out / "run.json").read_text())["stages"][name]


def test_nothing_of_the_teacher_is_trained_again(days: list[tuple[Path, Report, list[str]]]) -> None:
    _, report, ended = days[1]
    assert not [name for name in ended if name.startswith("member")]
    assert [arm.name for arm in report.arms] == ["teacher", "student alone", "distilled student", "earlier student"]
    weights = [(stage(out, "teacher") / "model.safetensors").read_bytes() for out, _, _ in days]
    assert weights[0] == weights[1] == weights[2]
    assert Report.from_json((days[1][0] / "report.json").read_bytes()) == report
    assert 'id="drift"' in (days[1][0] / "report.html").read_text(encoding="utf-8")
    assert days[0][1].drift is None


def test_items_keep_their_places_and_the_new_one_comes_last(days: list[tuple[Path, Report, list[str]]]) -> None:
    items = [Bundle.from_pretrained(out / "bundle").items["item"].to_list() for out, _, _ in days]
    assert items[1] == items[2] == [*items[0], NEW_ITEM]


def test_unchanged_labels_are_taken_over(days: list[tuple[Path, Report, list[str]]]) -> None:
    """Only the queries of the ten users who went on, and of the new one, are asked."""
    for (_, report, _), at_least in zip(days[1:], (0.7, 0.9), strict=True):
        assert report.drift is not None
        assert at_least < report.drift.labels_reused < 1


def test_the_student_starts_from_yesterdays_weights(
    days: list[tuple[Path, Report, list[str]]], logs: list[Path]
) -> None:
    """Started anew, it would have to learn everything again; left as it was, it would never learn the new item."""
    results = [json.loads((stage(out, "distilled student 0") / "stage.json").read_text())["result"] for out, *_ in days]
    losses = [[epoch["losses"]["distillation"] for epoch in result["curve"]] for result in results]
    earlier, today = (load_model(stage(out, "distilled student 0")).state_dict()["items"] for out, *_ in days[:2])
    assert losses[1][0] < losses[0][0]
    assert len(today) == len(earlier) + 1
    assert not torch.equal(today[-1], earlier.mean(0))


def test_drift_counts_what_is_new(days: list[tuple[Path, Report, list[str]]]) -> None:
    drift = days[1][1].drift
    assert drift is not None
    known = len(pl.read_parquet(stage(days[0][0], "data") / "log.parquet"))
    total = days[1][1].data.interactions
    assert drift.new_interactions == total - known + drift.gone_interactions
    assert (drift.new_users, drift.new_items, drift.gone_interactions) == (1, 1, 0)
    assert drift.unknown_to_teacher == pytest.approx(1 / drift.new_interactions)
    assert drift.users == 11
    assert drift.teacher is not None
    assert drift.teacher.difference == pytest.approx(drift.teacher.now.mean - drift.teacher.before.mean)
    assert drift.teacher.before.mean == days[0][1].arm("teacher").metrics["ndcg@10"].mean
    assert drift.retrain == (drift.teacher.ci95 is not None and drift.teacher.ci95[1] < 0)
    assert ("Train the teacher again" in drift.sentence) == drift.retrain


def test_a_teacher_is_compared_with_the_day_on_which_it_was_trained(days: list[tuple[Path, Report, list[str]]]) -> None:
    """Compared with the day before, a teacher that gets a little worse each day would never be trained again."""
    second, third = days[1][1].drift, days[2][1].drift
    assert second is not None
    assert third is not None
    assert second.teacher is not None
    assert third.teacher is not None
    assert third.teacher.before == second.teacher.before
    assert third.gone_interactions == 1


def test_a_finished_refresh_is_not_run_again_and_its_report_can_be_made_again(
    days: list[tuple[Path, Report, list[str]]], logs: list[Path]
) -> None:
    out, report, _ = days[1]
    plan = dict(explain(recipe(logs[1], days[0][0]), out))
    assert set(plan.values()) == {"done"}
    assert report_again(out).drift == report.drift


def test_new_interactions_are_asked_for_with_what_came_before_them() -> None:
    rows = [("a", 1, 1), ("a", 2, 2), ("b", 3, 1)]
    later = [("a", 3, 3), ("a", 1, 9), ("c", 2, 4), ("c", 1, 5)]
    frames = [pl.DataFrame(r, schema=["user", "item", "time"], orient="row") for r in (rows, rows + later)]
    since = Snapshot.of(from_dataframe(frames[0], COLUMNS))
    prepared = from_dataframe(frames[1], COLUMNS, since=since)
    queries, targets = new_queries(prepared)
    ids = prepared.dataset.item_ids
    read = [ids.decode(queries.histories[n : n + 1].flat()[1]).to_list() for n in range(len(queries))]
    assert read == [[1, 2], [2]]
    assert ids.decode(targets.flat()[1]).to_list() == [3, 1]
    queries, _ = new_queries(prepared, from_train=True)
    assert [len(row) for row in np.split(queries.histories.flat()[1], np.cumsum(queries.histories.lengths)[:-1])] == [2]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"teacher": [{"name": "ease", "model": {"model": "ease"}}]}, "teacher isn't that of"),
        ({"weighing": "by-history"}, "teacher isn't that of"),
        ({"record": {"k": 3}}, "record isn't that of"),
        ({"student": {"model": {"model": "matrix_factorization", "embedding_size": 3}}}, "student.model isn't that of"),
        ({"student": {"model": {"model": "lightgcn"}}}, "a lightgcn doesn't save all that it trains"),
        ({"data": {"source": "x", "split": {"kind": "cold-users"}}}, "holds out users or items"),
        ({"evaluation": {"seeds": 2, "metrics": ["ndcg@10"]}}, "evaluation.seeds is 2"),
        ({"evaluation": {"seeds": 1, "metrics": ["mrr@10"]}}, "first metric is mrr@10"),
    ],
)
def test_recipes_that_do_not_go_on_are_refused(
    days: list[tuple[Path, Report, list[str]]], logs: list[Path], tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        explain(recipe(logs[1], days[0][0], **changed), tmp_path)


def test_damaged_labels_of_yesterday_are_named(
    days: list[tuple[Path, Report, list[str]]], logs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copied on, they would be taught from then on."""
    monkeypatch.setattr(sys.modules["distilrec.pipeline.run"], "run_tasks", at_once)
    shutil.copytree(days[0][0], tmp_path / "yesterday")
    path = stage(tmp_path / "yesterday", "soft labels") / "labels" / "shard-00000" / "scores.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ArtefactError, match=r"scores\.npy: damaged, its checksum differs"):
        run_part(recipe(logs[1], tmp_path / "yesterday"), tmp_path / "today", "soft labels", progress=Quiet())


def test_a_run_that_was_not_finished_is_named(logs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="no finished run to go on from"):
        explain(recipe(logs[1], tmp_path), tmp_path / "today")
    (tmp_path / "run.json").write_text("{", encoding="utf-8")
    write_recipe(recipe(logs[0]), tmp_path / "recipe.yaml")
    with pytest.raises(ArtefactError, match=r"run\.json: damaged"):
        explain(recipe(logs[1], tmp_path), tmp_path / "today")
