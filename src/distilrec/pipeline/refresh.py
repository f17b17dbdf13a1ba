"""A run that goes on from an earlier one: its teacher as it is, its soft labels and students continued."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilrec.data import Prepared, Snapshot
from distilrec.data.split_kinds import UNUSED
from distilrec.errors import RecipeError
from distilrec.evaluation import drift, statistics
from distilrec.models import load_model, modalities
from distilrec.models.storage import SETTINGS, WEIGHTS
from distilrec.pipeline.earlier import Earlier
from distilrec.pipeline.plan import ALONE, DISTILLED, TEACHER, Arm, Plan
from distilrec.pipeline.stages import Stage
from distilrec.pipeline.task import Context, Task
from distilrec.pipeline.tasks import FitMember, RecordLabels, TrainStudent
from distilrec.ranking import evaluate
from distilrec.recipe import Recipe
from distilrec.report.numbers import interval, label
from distilrec.report.parts import Estimate
from distilrec.rng import generator
from distilrec.scoring import Queries, Ragged

__all__ = ["EARLIER", "RefreshPlan", "drift_of", "new_queries"]

EARLIER = "earlier student"
MOST_NEW = 20_000  # new interactions that are asked about: more hardly move the mean


@dataclass(frozen=True)
class TakeOver(Task):
    """Take a model over from an earlier run, as it is. source: the folder of the stage that trained it."""

    source: Path

    def execute(self, context: Context, on_progress: Callable[[int, int, str], None]) -> Mapping[str, Any]:
        """Copy the files of the model."""
        folder, model = context.store.folder(self.stage), load_model(self.source)
        for name in (WEIGHTS, SETTINGS):
            shutil.copyfile(self.source / name, folder / name)
        parameters = sum(value.numel() for value in model.serving_state().values())
        size = (folder / WEIGHTS).stat().st_size
        return {"bytes": size, "parameters": parameters, "train_seconds": 0.0, "curve": []}


@dataclass(frozen=True)
class TestOnNew(Task):
    """Measure models, the seeds of one arm, on the interactions that they can't have seen."""

    models: tuple[Stage, ...]
    metric: str
    from_train: bool

    def execute(self, context: Context, on_progress: Callable[[int, int, str], None]) -> Mapping[str, Any]:
        """The mean over users of the mean over each one's new interactions, as the test part counts users alike."""
        queries, targets = new_queries(context.prepared, from_train=self.from_train)
        if len(queries) == 0:
            return {"queries": 0, "users": 0}
        values = [evaluate(context.model(m), queries, targets, [self.metric])[self.metric] for m in self.models]
        counts = np.bincount(queries.users)
        sums = np.bincount(queries.users, weights=np.mean(values, axis=0))
        each = sums[counts > 0] / counts[counts > 0]
        ci95 = statistics.interval(each, generator(0, "interval"))
        return {"queries": len(queries), "users": len(each), "mean": float(each.mean()), "ci95": list(ci95)}


def new_queries(prepared: Prepared, *, from_train: bool = False) -> tuple[Queries, Ragged]:
    """A query per new interaction whose user took something before, and that interaction's item, the one to be found.

    Its history is all that came before it, other new interactions too; from_train: only what came before the user's
    first new one, as for models that answer from the end of training. Of more than 20,000 as many are drawn, once.
    """
    log, is_new = prepared.split.log, _new(prepared)
    users, positions = log.flat()
    fresh = is_new[positions]
    starts = log.histories.starts[users]
    first = np.full(log.n_users, np.iinfo(np.int64).max)
    np.minimum.at(first, users[fresh], positions[fresh])
    stops = np.minimum(positions, first[users]) if from_train else positions
    asked = np.flatnonzero(fresh & (stops > starts))
    if len(asked) > MOST_NEW:
        asked = np.sort(generator(0, "new interactions").choice(asked, MOST_NEW, replace=False))
    users, starts, stops, positions = users[asked], starts[asked], stops[asked], positions[asked]
    values = log.histories.values
    queries = Queries(users.astype(np.int32), Ragged(starts, stops, values), Ragged(starts, positions, values))
    return queries, Ragged(positions, positions + 1, values)


@dataclass(frozen=True)
class RefreshPlan(Plan):
    """Plan a run that goes on from `earlier`: no teacher is trained, and it has the main arms only."""

    earlier: Earlier = field(kw_only=True)

    @classmethod
    def of(cls, recipe: Recipe, fingerprint: str, contents: Mapping[str, str], earlier: Earlier) -> RefreshPlan:
        """Check that the recipe fits the earlier run, and plan."""
        earlier.check(recipe)
        models = [*(member.model for member in recipe.teacher), recipe.student.model]
        if any(map(modalities, models)):
            raise RecipeError("since: models that know items by their content aren't continued; run the recipe anew")
        if recipe.record.members:
            raise RecipeError("since: soft labels of members aren't continued; set record.members to false, and use "
                              "methods that learn from the teacher as a whole")  # fmt: skip
        evaluation = recipe.evaluation.model_copy(update={"controls": (), "widths": ()})
        return cls(
            recipe.model_copy(update={"evaluation": evaluation, "joint": None, "compared": {}, "students": {}}),
            fingerprint,
            contents,
            earlier=earlier,
        )

    @cached_property
    def members(self) -> tuple[FitMember, ...]:
        """None: the teacher is taken over as a whole."""
        return ()

    @cached_property
    def teacher(self) -> TakeOver:
        """The earlier run's teacher."""
        return self._taken(TEACHER, TEACHER)

    @cached_property
    def labels(self) -> RecordLabels:
        """The earlier run's soft labels, with those of new and changed queries."""
        name = "soft labels"
        task = self._record(name, self.teacher.stage)
        return replace(task, stage=self._after(task.stage, name), since=self.earlier.path(name) / "labels")

    def student_task(self, name: str, *arguments: Any, **options: Any) -> TrainStudent:
        """Train on from the weights that the earlier run's student of this name has."""
        task = super().student_task(name, *arguments, **options)
        return replace(task, stage=self._after(task.stage, name), warm=self.earlier.path(name))

    @cached_property
    def arms(self) -> tuple[Arm, ...]:
        """Teacher, student alone, distilled student, and the earlier run's distilled student as it was."""
        kept = {arm.name: arm for arm in super().arms if arm.name in (TEACHER, ALONE, DISTILLED)}
        distilled = kept[DISTILLED]
        tasks = tuple(self._taken(f"{EARLIER} {n}", f"{DISTILLED} {n}") for n in distilled.seeds)
        method = f"the distilled student of {self.earlier.folder.name}, as it was"
        earlier = Arm(EARLIER, "distilled_student", method, distilled.seeds, tasks, distilled.student)
        return (*kept.values(), earlier)

    def on_new(self, arm: str) -> TestOnNew:
        """The test of an arm on new interactions: of the teacher, or of the earlier student."""
        stages = tuple(task.stage for task in next(a for a in self.arms if a.name == arm).trained)
        metric, from_train = self.recipe.evaluation.metrics[0], not self.reads_histories
        settings = {"metric": metric, "from_train": from_train}
        return TestOnNew(
            Stage(f"{arm} on new interactions", settings, (self.data, *stages)), stages, metric, from_train
        )

    @cached_property
    def tasks(self) -> tuple[Task, ...]:
        """All tasks, each after those that it depends on."""
        return (*super().tasks, self.on_new(TEACHER), self.on_new(EARLIER))

    def _taken(self, name: str, source: str) -> TakeOver:
        return TakeOver(self._after(Stage(name, {}, (self.data,)), source), self.earlier.path(source))

    def _after(self, stage: Stage, name: str) -> Stage:
        return replace(stage, parents=(*stage.parents, self.earlier.stage(name)))


def drift_of(plan: RefreshPlan, context: Context, overlap: dict[str, Any]) -> dict[str, Any]:
    """The report's section on drift. overlap: of the lists of today's and the earlier student."""
    teacher, student = _change(plan, context, TEACHER), _change(plan, context, EARLIER)
    asked = context.store.result(plan.on_new(TEACHER).stage)
    retrain = None if teacher is None else teacher["ci95"] is not None and teacher["ci95"][1] < 0
    return {
        "since": str(plan.earlier.folder),
        **_counted(plan, context),
        "queries": asked["queries"],
        "users": asked["users"],
        "teacher": teacher,
        "student": student,
        "overlap": overlap,
        "labels_reused": context.store.result(plan.labels.stage)["reused"],
        "retrain": retrain,
        "sentence": _advice(teacher, retrain, label(plan.recipe.evaluation.metrics[0])),
    }


def _counted(plan: RefreshPlan, context: Context) -> dict[str, Any]:
    """What is new, what is gone, and how far the new interactions' items depart from the earlier ones'."""
    prepared = context.prepared
    yesterday = Snapshot.open(plan.earlier.path("data"))
    log, is_new = prepared.split.log, _new(prepared)
    positions = log.flat()[1]
    items, fresh = log.histories.values[positions], is_new[positions]
    known = load_model(context.store.folder(plan.teacher.stage)).n_items
    before, now = (np.bincount(items[which], minlength=log.n_items) for which in (~fresh, fresh))
    n_new, n_before = int(fresh.sum()), int(yesterday.log["liked"].sum())
    compared = n_new > 0 and bool(before.any())
    chance = generator(0, "drift by chance")
    return {
        "new_interactions": n_new,
        "gone_interactions": n_before - int((~fresh).sum()),
        "new_users": log.n_users - len(yesterday.user_ids),
        "new_items": log.n_items - len(yesterday.item_ids),
        "unknown_to_teacher": float(now[known:].sum() / n_new) if n_new else 0.0,
        "popularity": drift.jensen_shannon(before, now) if compared else None,
        "popularity_by_chance": drift.distance_by_chance(before, n_new, chance) if compared else None,
    }


def _change(plan: RefreshPlan, context: Context, arm: str) -> dict[str, Any] | None:
    """Quality on new interactions beside quality on the test part of the run that trained the model."""
    now = context.store.result(plan.on_new(arm).stage)
    if now["queries"] == 0:
        return None
    report = plan.earlier.report
    before: Estimate = report.arm("teacher" if arm == TEACHER else "distilled_student").metrics[report.metric]
    if arm == TEACHER and report.drift is not None and report.drift.teacher is not None:
        before = report.drift.teacher.before  # when it was trained: from day to day, slow drift would never show
    difference, ci95 = now["mean"] - before.mean, None
    if before.ci95 is not None:
        difference, ci95 = drift.unpaired(before.ci95, tuple(now["ci95"]), (before.mean, now["mean"]))
    return {
        "before": {"mean": before.mean, "ci95": before.ci95},
        "now": {"mean": now["mean"], "ci95": now["ci95"]},
        "difference": difference,
        "ci95": ci95,
    }


def _advice(teacher: dict[str, Any] | None, retrain: bool | None, metric: str) -> str:
    """Whether the teacher should be trained again, in one sentence."""
    if teacher is None:
        return "No new interaction has a history before it, so whether the teacher has aged can't be said."
    then, now = (interval(teacher[when]["mean"], teacher[when]["ci95"]) for when in ("before", "now"))
    found = f"on new interactions its {metric} is {now}, on the test part of its own day it was {then}"
    if retrain:
        return f"Train the teacher again: {found}, and the difference lies below 0 with 95 % confidence."
    return f"The teacher need not be trained again yet: {found}, which does not show that it has become worse."


def _new(prepared: Prepared) -> NDArray[np.bool_]:
    """(M,) bool parallel to the log's values: whether the earlier run didn't have the interaction."""
    assert prepared.earlier is not None  # a refresh loads its data with those of the earlier run
    is_new: NDArray[np.bool_] = prepared.earlier == UNUSED
    return is_new
