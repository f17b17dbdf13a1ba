"""Runs that record each member of the teacher, and earlier states of them, for students of several teachers."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from pydantic import ValidationError

from distilrec.data import cycles
from distilrec.errors import RecipeError
from distilrec.models import load_model
from distilrec.pipeline import Progress, explain, forecast_labels, run, run_part
from distilrec.pipeline.prepare import plan_of
from distilrec.pipeline.task import Context, Task
from distilrec.pipeline.tasks import TrainStudent
from distilrec.recipe import Recipe, read_recipe
from distilrec.report import Report
from distilrec.soft_labels import SoftLabels


class Quiet:
    """Shows nothing."""

    def begin(self, to_do: int, done: int) -> None: ...

    def step(self, stage: str, done: int, of: int, text: str) -> None: ...

    def end(self, stage: str, seconds: float) -> None: ...


def at_once(tasks: Sequence[Task], context: Context, *, jobs: int | None = None, progress: Progress) -> None:
    """What `run_tasks` does, without processes of its own; tests/pipeline/test_run.py runs those."""
    for task in tasks:
        if not context.store.done(task.stage):
            result = task.execute(context, lambda done, of, text: None)
            context.store.finish(task.stage, {**result, "seconds": 1.0})


def content(source: Path, *methods: dict[str, Any], **record: Any) -> dict[str, Any]:
    training = {"epochs": 2, "batch_size": 64, "learning_rate": 0.02}
    return {
        "data": {"source": str(source)},
        "teacher": [
            {
                "name": "encoder",
                "model": {"model": "history_encoder", "embedding_size": 8, "history_length": 8},
                "training": {**training, "epochs": 6},
            },
            {"name": "ease", "model": {"model": "ease", "reg": 10}},
        ],
        "record": {"k": 5, "tail": 3, **record},
        "student": {"model": {"model": "history_encoder", "embedding_size": 4, "history_length": 8}},
        "alone": {"training": training},
        "distilled": {"training": training, "distillation": {"alpha": 0.9, "methods": methods or [{"method": "kl"}]}},
        "evaluation": {
            "metrics": ["ndcg@10"],
            "seeds": 1,
            "controls": ["self-distilled", "shuffled teacher", "popularity teacher", "top-10 as positives"],
        },
    }


HETCOMP = {"method": "hetcomp", "pool": 5, "compared": 5, "every": 1}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = cycles(n_users=60, n_items=30, length=8)
    users, positions = data.interactions.flat()
    items = data.interactions.histories.values[positions]
    path = tmp_path_factory.mktemp("data") / "log.parquet"
    pl.DataFrame({"user": users, "item": [f"i{n}" for n in items], "time": positions % 8}).write_parquet(path)
    return path


@pytest.fixture(scope="module", autouse=True)
def _without_processes() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["distilrec.pipeline.run"], "run_tasks", at_once)
        yield


@pytest.fixture(scope="module")
def finished(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    """With methods of all kinds."""
    out = tmp_path_factory.mktemp("run")
    methods = HETCOMP, {"method": "rank_aggregation", "pool": 5, "interesting": 4}, {"method": "gated_teachers"}
    recipe = Recipe.model_validate(content(source, *methods, members=True, checkpoints=2))
    return out, run(recipe, out, progress=Quiet())


def stage(out: Path, name: str) -> Path:
    return out / "stages" / json.loads((out / "run.json").read_text())["stages"][name]


def test_each_member_is_recorded_with_its_earlier_states(finished: tuple[Path, Report]) -> None:
    """EASE, which isn't trained by steps, has none."""
    out, _ = finished
    names = [name for name in json.loads((out / "run.json").read_text())["stages"] if name.startswith("soft labels")]
    assert names == [
        "soft labels",
        "soft labels of encoder at checkpoint 1",
        "soft labels of encoder at checkpoint 2",
        "soft labels of encoder",
        "soft labels of ease",
        "soft labels of the student alone",
        "soft labels of popularity",
    ]


def test_earlier_states_are_other_models_than_the_finished_one(finished: tuple[Path, Report]) -> None:
    """Prevents a trajectory of copies, from which nothing is learned that the last one doesn't say."""
    member = stage(finished[0], "member encoder")
    said = json.loads((member / "stage.json").read_text())["result"]
    best = max((epoch for epoch in said["curve"]), key=lambda epoch: epoch["validation"])["epoch"]
    assert said["checkpoints"] == [round(best / 3), round(2 * best / 3)]
    assert sorted(path.name for path in member.iterdir()) == [
        "checkpoint-1", "checkpoint-2", "model.json", "model.safetensors", "stage.json",
    ]  # fmt: skip
    models = [load_model(folder) for folder in (member / "checkpoint-1", member / "checkpoint-2", member)]
    items = [model.item_vectors() for model in models]
    assert torch.dist(items[0], items[2]) > torch.dist(items[1], items[2]) > 0
    stores = [
        SoftLabels.open(stage(finished[0], f"soft labels of encoder{which}") / "labels")
        for which in (" at checkpoint 1", " at checkpoint 2", "")
    ]
    assert len({store.manifest.teacher_fingerprint for store in stores}) == 3
    rows = np.arange(len(stores[0]))
    lists = [store.batch(rows).items for store in stores]
    assert not torch.equal(lists[0], lists[2])


def test_keeping_states_changes_nothing_else(source: Path, finished: tuple[Path, Report], tmp_path: Path) -> None:
    """Prevents a member that ends with another state than its best, and labels that are recorded again for nothing."""
    recipe = Recipe.model_validate(content(source))
    run_part(recipe, tmp_path, "soft labels", progress=Quiet())
    (plain,) = (tmp_path / "stages").glob("member-encoder-*")
    kept = stage(finished[0], "member encoder")
    assert (plain / "model.safetensors").read_bytes() == (kept / "model.safetensors").read_bytes()
    members = Recipe.model_validate(content(source, members=True))
    plan = dict(explain(members, tmp_path))
    assert plan["member encoder"] == plan["soft labels"] == "done"
    assert plan["soft labels of ease"] == "will run: it hasn't been run yet"


def test_all_methods_take_part(finished: tuple[Path, Report]) -> None:
    """Prevents a method that the recipe names and the student never meets."""
    losses = next(curve.losses for curve in finished[1].curves if curve.arm == "distilled student")
    assert {"hetcomp", "rank_aggregation", "gated_teachers"} <= set(losses)


def test_the_report_counts_all_recordings(finished: tuple[Path, Report]) -> None:
    """Prevents methods of several teachers from looking as cheap as those of one."""
    _, report = finished
    assert report.arm("distilled_student").record_seconds == 5.0
    assert next(arm for arm in report.arms if arm.name == "popularity teacher").record_seconds == 1.0


def test_controls_learn_nothing_of_the_members(finished: tuple[Path, Report]) -> None:
    """A shuffled teacher whose members aren't, or popularity beside the true members, would be no control."""
    out, _ = finished
    parents = {
        name: set(json.loads((stage(out, f"{name} 0") / "stage.json").read_text())["parents"])
        for name in ("distilled student", "self-distilled", "popularity teacher", "top-10 as positives")
    }
    assert len(parents["distilled student"]) == 2 + 4
    assert parents["self-distilled"] == {"data", "soft labels of the student alone"}
    assert parents["popularity teacher"] == {"data", "soft labels of popularity"}
    assert parents["top-10 as positives"] == {"data", "soft labels"}


def test_members_are_shuffled_with_the_teacher(finished: tuple[Path, Report]) -> None:
    """Prevents a control that learns from the members what the shuffled teacher no longer tells."""
    context, plan = plan_of(read_recipe(finished[0] / "recipe.yaml"), finished[0])
    task = next(arm for arm in plan.arms if arm.name == "shuffled teacher").trained[0]
    assert isinstance(task, TrainStudent)
    stores = [task._opened(context, stage) for stage in task.recordings]
    assert len(stores) == 5
    ids = stores[0].query_ids
    assert not np.array_equal(stores[0].rows(ids), np.arange(len(ids)))
    assert all(np.array_equal(store.rows(ids), stores[0].rows(ids)) for store in stores)


def test_the_forecast_holds_the_members(source: Path, finished: tuple[Path, Report]) -> None:
    out, _ = finished
    recipe = Recipe.model_validate(content(source, members=True, checkpoints=2))
    names = [name for name in json.loads((out / "run.json").read_text())["stages"] if name.startswith("soft labels")]
    said = {n: json.loads((stage(out, n) / "stage.json").read_text())["result"]["bytes"] for n in names[:5]}
    assert forecast_labels(recipe, out)["bytes"] == sum(said.values())


def test_what_can_not_be_run_is_refused_before_training(source: Path) -> None:
    """Prevents an error after hours of training."""
    for settings, reason in (
        (
            content(source, {"method": "rank_aggregation"}),
            "'rank_aggregation' needs recordings of the teacher's members",
        ),
        (content(source, HETCOMP, members=True), "'hetcomp' needs earlier checkpoints"),
        (content(source, checkpoints=2), "need record.members: true"),
        (content(source, {"method": "rank_aggregation", "weights": {"x": 1}}, members=True), "is no member"),
        (
            content(source, {"method": "rank_aggregation", "weights": {"encoder": 0, "ease": 0}}, members=True),
            "'rank_aggregation' weighs every member of the teacher 0",
        ),
        (
            {
                **content(source, {"method": "gated_teachers"}, members=True),
                "student": {"model": {"model": "matrix_factorization"}},
            },
            "'gated_teachers' needs .* what the true labels ask for",
        ),
    ):
        with pytest.raises(ValidationError, match=reason):
            Recipe.model_validate(settings)


def test_a_later_run_can_not_go_on_with_members(source: Path, finished: tuple[Path, Report], tmp_path: Path) -> None:
    recipe = Recipe.model_validate({**content(source, members=True, checkpoints=2), "since": str(finished[0])})
    with pytest.raises(RecipeError, match="members aren't continued"):
        run(recipe, tmp_path, progress=Quiet())
