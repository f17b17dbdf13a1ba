"""What each stage does: fit a member, weigh the teacher, record it, train a student, test a model."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from safetensors.numpy import load_file

from distilrec.data import final_queries, prefix_queries
from distilrec.distillation import HardPositives, ShuffledLabels, distil, distil_jointly
from distilrec.errors import ModelError, RecipeError
from distilrec.models import (
    USER_EDGES,
    ClosedForm,
    DotProductModel,
    Ensemble,
    Known,
    Model,
    Popularity,
    PopularityConfig,
    build,
    fit,
    known_elsewhere,
    load_model,
    quantize_,
    save_model,
    step_names,
    warm_start_,
)
from distilrec.models.trajectory import Trajectory
from distilrec.pipeline.measure import WORDS, save_test, test_model
from distilrec.pipeline.sources import give_room, save_ablations
from distilrec.pipeline.stages import Stage
from distilrec.pipeline.task import Context, Task
from distilrec.recipe import Alone, Distilled, Joint, Member, Record, Student
from distilrec.rng import child_seed
from distilrec.soft_labels import SoftLabels, record
from distilrec.training import Epoch, TrainingConfig

__all__ = [
    "Content",
    "FitMember",
    "Members",
    "RecordLabels",
    "TestModel",
    "TrainJointly",
    "TrainStudent",
    "WeighTeacher",
    "saved",
]

Transform = Literal["none", "shuffled", "hard"]
Members: TypeAlias = tuple[tuple[str, tuple[Stage, ...]], ...]
Content: TypeAlias = tuple[tuple[str, Stage], ...]


@dataclass(frozen=True)
class FitMember(Task):
    """Train one member of the teacher on the true labels.

    checkpoints: earlier states to keep of a member that is trained by steps, each a model of its own. content: by
    name, the stages whose vectors it knows items by. cold_cost: as the recipe's, where items were held out.
    ablation: whether it is kept with each source of its items alone, and without it, too.
    """

    member: Member
    seed: int
    checkpoints: int = 0
    content: Content = ()
    cold_cost: float | None = None
    ablation: bool = False

    def execute(self, context: Context, on_progress: Callable[[int, int, str], None]) -> Mapping[str, Any]:
        """Fit and save."""
        folder, log = context.store.folder(self.stage), context.prepared.split.train
        model = build(
            self.member.model,
            log.n_users,
            log.n_items,
            seed=child_seed(self.seed, self.member.name),
            catalogue=context.catalogue(self.content),
        )
        begin = time.monotonic()
        if isinstance(model, ClosedForm):
            model.fit(log)
            return saved(model, folder, seconds=time.monotonic() - begin)
        assert isinstance(model, DotProductModel)  # what isn't in closed form is trained
        trajectory = Trajectory(folder / "trajectory", self.checkpoints) if self.checkpoints else None
        curve = fit(
            model,
            context.prepared.split,
            self.member.supervision,
            self.member.training,
            seed=child_seed(self.seed, self.member.name, "training"),
            disliked=context.disliked,
            checkpoint=folder / "checkpoint.safetensors",
            on_epoch=_shown(self.member.training, on_progress),
            on_weights=None if trajectory is None else trajectory.keep,
        )
        seconds = _beside(curve, begin)
        if self.ablation:
            save_ablations(model, context, self.cold_cost, folder)
        epochs = None if trajectory is None else _save_checkpoints(model, trajectory, curve, folder)
        said = give_room(model, context, self.cold_cost)
        kept = saved(model, folder, curve, seconds=seconds)
        if trajectory is None:
            return {**kept, **said}
        trajectory.remove()
        return {**kept, **said, "checkpoints": epochs}


@dataclass(frozen=True)
class WeighTeacher(Task):
    """Make the members one teacher, their weights fitted on validation; by_history: for each length of history."""

    members: tuple[Stage, ...]
    by_history: bool = False

    def execute(self, context: Context, on_progress: Callable[[int, int, str], None]) -> Mapping[str, Any]:
        """Fit the weights and save the members that have any; a single one is the teacher as it is."""
        models = [context.model(member) for member in self.members]
        folder = context.store.folder(self.stage)
        seconds = sum(context.store.result(member)["train_seconds"] for member in self.members)
        if len(models) == 1:
            return saved(models[0], folder, seconds=seconds)
        ensemble = Ensemble(models, by_history=self.by_history)
        queries, targets = context.prepared.split.queries("validation")
        quality = ensemble.fit_weights(queries, targets)
        kept = saved(ensemble.pruned(), folder, seconds=seconds)
        told = {"weights": ensemble.mean_weights(queries), "validation": quality}
        if self.by_history:
            told["by_history"] = dict(zip(step_names(USER_EDGES), ensemble.weights.tolist(), strict=True))
        return {**kept, **told}


@dataclass(frozen=True)
class RecordLabels(Task):
    """Record a model's soft labels.

    teacher: its stage, or None for popularity. checkpoint: which of the teacher's earlier states, from 1, or None.
    since: an earlier recording of the same teacher, to go on from.
    """

    teacher: Stage | None
    config: Record
    history_length: int | None
    seed: int
    checkpoint: int | None = None
    since: Path | None = None

    def execute(self, context: Context, on_progress: Callable[[int, int, str], None]) -> Mapping[str, Any]:
        """Record; queries are prefixes for students with a history length, else the ends of histories."""
        split = context.prepared.split
        model: Model
        if self.teacher is None:
            model = Popularity(PopularityConfig(), split.train.n_users, split.train.n_items)
            model.fit(split.train)
        else:
            folder = context.store.folder(self.teacher)
            model = load_model(folder if self.checkpoint is None else checkpoint_folder(folder, self.checkpoint))
        if self.history_length is None:
            queries, ids = final_queries(split.train, known_elsewhere(model))
        else:
            queries, ids = prefix_queries(split.train, self.history_length)
        held_out, since = split.held_out, None
        if self.since is not None:
            since, known = SoftLabels.open(self.since), Known(model.n_users, model.n_items)
            queries = known.queries(queries)
            held_out = replace(held_out, histories=known.rows(held_out.histories))
        fingerprint = "popularity" if self.teacher is None else self.teacher.key
        if self.checkpoint is not None:
            fingerprint += f" at checkpoint {self.checkpoint}"
        labels = record(
            model,
            queries,
            ids,
            context.store.folder(self.stage) / "labels",
            self.config.settings(),
            seed=child_seed(self.seed, "record"),
            data_fingerprint=context.prepared.dataset.fingerprint,
            teacher_fingerprint=fingerprint if since is None else since.manifest.teacher_fingerprint,
            validation=split.queries("validation") if since is None else None,
            held_out=held_out,
            left_out=split.cold_items,
            since=since,
            progress=lambda done, of: on_progress(done, of, "queries"),
        )
        said = {"temperature": labels.temperature, "bytes": labels.summary()["bytes"], "queries": len(labels)}
        return said if since is None else {**said, "reused": float(np.isin(labels.query_keys, since.query_keys).mean())}


@dataclass(frozen=True)
class TrainStudent(Task):
    """Train a student: alone where `labels` is None, else distilled from these soft labels, as they are or altered.

    warm: the folder of the same student as an earlier run trained it, whose weights it starts from. members: the
    soft labels of each member of the teacher, from its earliest checkpoint on, for methods that learn from several.
    may_diverge: a trial of a search, for which a loss that is no longer finite is a result. content and
    cold_cost: as in FitMember.
    """

    student: Student
    settings: Alone
    seed: int
    labels: Stage | None = None
    transform: Transform = "none"
    warm: Path | None = None
    members: Members = ()
    may_diverge: bool = False
    content: Content = ()
    cold_cost: float | None = None

    @property
    def recordings(self) -> tuple[Stage, ...]:
        """All that it learns from, each once."""
        stages = [stage for _, each in self.members for stage in each]
        return tuple({stage.key: stage for stage in ([] if self.labels is None else [self.labels]) + stages}.values())

    def execute(self, context: Context, on_progress: Callable[[int, int, str], None]) -> Mapping[str, Any]:
        """Train, round to the student's precision, and save."""
        folder, split = context.store.folder(self.stage), context.prepared.split
        model = build(
            self.student.model,
            split.train.n_users,
            split.train.n_items,
            seed=self.seed,
            catalogue=context.catalogue(self.content),
        )
        assert isinstance(model, DotProductModel)  # the recipe allows no other student
        if self.warm is not None:
            warm_start_(model, load_model(self.warm))
        options: dict[str, Any] = {
            "seed": child_seed(self.seed, "training"),
            "disliked": context.disliked,
            "checkpoint": folder / "checkpoint.safetensors",
            "on_epoch": _shown(self.settings.training, on_progress),
        }
        begin = time.monotonic()
        try:
            curve = self._train(model, context, options)
        except ModelError as error:
            if not self.may_diverge:
                raise
            return {"curve": [], "diverged": str(error)}
        seconds = _beside(curve, begin)
        said = give_room(model, context, self.cold_cost)
        return {**saved(model, folder, curve, self.student, seconds), **said}

    def _train(self, model: DotProductModel, context: Context, options: dict[str, Any]) -> Sequence[Epoch]:
        split = context.prepared.split
        supervision, training = self.settings.supervision, self.settings.training
        if self.labels is None:
            return fit(model, split, supervision, training, **options)
        if isinstance(self.settings, Distilled):
            options["members"] = {
                name: tuple(self._opened(context, stage) for stage in stages) for name, stages in self.members
            }
            labels = self._opened(context, self.labels)
            return distil(model, split, labels, self.settings.distillation, supervision, training, **options)
        raise RecipeError(f"{self.stage.name}: soft labels without settings for distillation")

    def _opened(self, context: Context, stage: Stage) -> SoftLabels:
        """A recording, altered as `transform` says: the members' in the same way, lest they tell what it takes away."""
        labels = SoftLabels.open(context.store.folder(stage) / "labels")
        if self.transform == "shuffled":
            return ShuffledLabels(labels, self.seed)
        return HardPositives(labels) if self.transform == "hard" else labels


@dataclass(frozen=True)
class TrainJointly(Task):
    """Train a student together with a member of the teacher, which is trained anew and not kept."""

    student: Student
    teacher: Member
    settings: Joint
    seed: int
    content: Content = ()
    cold_cost: float | None = None

    def execute(self, context: Context, on_progress: Callable[[int, int, str], None]) -> Mapping[str, Any]:
        """Train, round to the student's precision, and save the student."""
        folder, split = context.store.folder(self.stage), context.prepared.split
        sizes = split.train.n_users, split.train.n_items
        catalogue = context.catalogue(self.content)
        teacher = build(self.teacher.model, *sizes, seed=child_seed(self.seed, "teacher"), catalogue=catalogue)
        student = build(self.student.model, *sizes, seed=self.seed, catalogue=catalogue)
        assert isinstance(teacher, DotProductModel)  # the recipe allows no others
        assert isinstance(student, DotProductModel)
        curve = distil_jointly(
            teacher,
            student,
            split,
            self.settings.distillation,
            self.settings.supervision,
            self.settings.training,
            seed=child_seed(self.seed, "training"),
            method=self.settings.method,
            disliked=context.disliked,
            checkpoint=folder / "checkpoint.safetensors",
            on_epoch=_shown(self.settings.training, on_progress),
        )
        said = give_room(student, context, self.cold_cost)
        return {**saved(student, folder, curve, self.student), **said}


@dataclass(frozen=True)
class TestModel(Task):
    """Answer the test queries with a stage's model and keep metrics and lists.

    from_train: as in `test_model`. words: by modality of text, the stages that left the vectors of words.
    """

    model: Stage
    metrics: tuple[str, ...]
    from_train: bool = False
    words: Content = ()

    def execute(self, context: Context, on_progress: Callable[[int, int, str], None]) -> Mapping[str, Any]:
        """Measure per query, save, and return means over the queries that each metric concerns."""
        words = {name: load_file(context.store.folder(stage) / WORDS)["vectors"] for name, stage in self.words}
        model = context.model(self.model)
        test = test_model(model, context.prepared, self.metrics, from_train=self.from_train, words=words)
        save_test(test, context.store.folder(self.stage))
        return {name: float(np.nanmean(values)) for name, values in test.metrics.items() if np.isfinite(values).any()}


def _shown(training: TrainingConfig, on_progress: Callable[[int, int, str], None]) -> Callable[[Epoch], None]:
    best = 0.0

    def show(epoch: Epoch) -> None:
        nonlocal best
        best = max(best, epoch.validation or 0.0)
        text = f"loss {epoch.losses['loss']:.4f}, validation {training.metric.upper()} best {best:.4f}"
        if epoch.validation is not None:
            text += f", now {epoch.validation:.4f}"
        on_progress(epoch.number, training.epochs, text)

    return show


def checkpoint_folder(member: Path, number: int) -> Path:
    """Where a member's earlier state is, in the folder of its stage; counted from 1, the earliest."""
    return member / f"checkpoint-{number}"


def _beside(curve: Sequence[Epoch], begin: float) -> float:
    """Seconds since `begin` beside the epochs: lists and graphs that a method builds, and what follows training."""
    return max(0.0, time.monotonic() - begin - sum(epoch.seconds for epoch in curve))


def _save_checkpoints(
    model: DotProductModel, trajectory: Trajectory, curve: Sequence[Epoch], folder: Path
) -> list[int]:
    """Save the trajectory's states as models, leave `model` as it was, and return their epochs."""
    best = max((epoch for epoch in curve if epoch.validation is not None), key=attrgetter("validation")).number
    finished = {name: value.clone() for name, value in model.state_dict().items()}
    epochs = trajectory.choose(best)
    for number, epoch in enumerate(epochs, start=1):
        model.load_state_dict(finished if epoch == best else trajectory.weights(epoch))
        save_model(model.eval(), checkpoint_folder(folder, number))
    model.load_state_dict(finished)
    model.eval()
    return epochs


def saved(
    model: Model, folder: Path, curve: Sequence[Epoch] = (), student: Student | None = None, seconds: float = 0.0
) -> dict[str, Any]:
    """Save a model, and say what is to be known of it and of its training, which took `seconds` beside the epochs."""
    precision = "float32" if student is None else student.precision
    size = save_model(quantize_(model, precision), folder, precision)
    (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    return {
        "bytes": size,
        "parameters": sum(value.numel() for value in model.serving_state().values()),
        "train_seconds": seconds + sum(epoch.seconds for epoch in curve),
        "curve": [
            {"epoch": e.number, "losses": dict(e.losses), "validation": e.validation, "seconds": e.seconds}
            for e in curve
        ],
    }
