"""What each stage does: fit a member, weigh the teacher, record it, train a student, test a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from distilrec.data import DataConfig, Interactions, Prepared, final_queries, load, prefix_queries
from distilrec.distillation import HardPositives, ShuffledLabels, distil
from distilrec.errors import RecipeError
from distilrec.models import (
    ClosedForm,
    DotProductModel,
    Ensemble,
    Model,
    Popularity,
    PopularityConfig,
    build,
    fit,
    load_model,
    quantize_,
    save_model,
    truncate_,
)
from distilrec.pipeline.measure import save_test, test_model
from distilrec.pipeline.stages import Stage, Store
from distilrec.recipe import Alone, Distilled, Member, Record, Student
from distilrec.rng import child_seed
from distilrec.soft_labels import RecordConfig, SoftLabels, record
from distilrec.training import Epoch, TrainingConfig

__all__ = ["Context", "FitMember", "RecordLabels", "Task", "TestModel", "TrainStudent", "Truncate", "WeighTeacher"]

Transform = Literal["none", "shuffled", "hard"]


@dataclass(frozen=True)
class Context:
    """What tasks share: the run's folder and the data."""

    store: Store
    data: DataConfig

    @cached_property
    def prepared(self) -> Prepared:
        """The data, loaded once per process."""
        return load(self.data)

    @property
    def disliked(self) -> Interactions | None:
        """Explicit negative feedback of the training part."""
        negatives = self.prepared.negatives_split
        return None if negatives is None else negatives.train

    def model(self, stage: Stage) -> Model:
        """The model that a finished stage left."""
        return load_model(self.store.folder(stage))


@dataclass(frozen=True)
class Task(ABC):
    """A stage, and how it is run. on_progress: called with (done, of how many, what is to be shown)."""

    stage: Stage

    @abstractmethod
    def execute(self, context: Context, on_progress: Callable[[int, int, str], None]) -> Mapping[str, Any]:
        """Do the work, leave files in the stage's folder, and return what is worth knowing, as plain JSON."""


@dataclass(frozen=True)
class FitMember(Task):
    """Train one member of the teacher on the true labels."""

    member: Member
    seed: int

    def execute(self, context: Context, on_progress: Callable[[int, int, str], None]) -> Mapping[str, Any]:
        """Fit and save."""
        folder, log = context.store.folder(self.stage), context.prepared.split.train
        model = build(self.member.model, log.n_users, log.n_items, seed=child_seed(self.seed, self.member.name))
        curve: list[Epoch] = []
        if isinstance(model, ClosedForm):
            model.fit(log)
        elif isinstance(model, DotProductModel):
            curve = fit(
                model,
                context.prepared.split,
                self.member.supervision,
                self.member.training,
                seed=child_seed(self.seed, self.member.name, "training"),
                disliked=context.disliked,
                checkpoint=folder / "checkpoint.safetensors",
                on_epoch=_shown(self.member.training, on_progress),
            )
        return _saved(model, folder, curve)


@dataclass(frozen=True)
class WeighTeacher(Task):
    """Make the members one teacher, their weights fitted on validation."""

    members: tuple[Stage, ...]

    def execute(self, context: Context, on_progress: Callable[[int, int, str], None]) -> Mapping[str, Any]:
        """Fit the weights and save; a single member is the teacher as it is."""
        models = [context.model(member) for member in self.members]
        folder = context.store.folder(self.stage)
        if len(models) == 1:
            return _saved(models[0], folder, [])
        teacher = Ensemble(models)
        quality = teacher.fit_weights(*context.prepared.split.queries("validation"))
        saved = _saved(teacher, folder, [])
        return {**saved, "weights": teacher.weights.tolist(), "validation": quality}


@dataclass(frozen=True)
class RecordLabels(Task):
    """Record a model's soft labels. teacher: its stage, or None for popularity."""

    teacher: Stage | None
    config: Record
    history_length: int | None
    seed: int

    def execute(self, context: Context, on_progress: Callable[[int, int, str], None]) -> Mapping[str, Any]:
        """Record; queries are prefixes for students with a history length, else the ends of histories."""
        split = context.prepared.split
        model: Model
        if self.teacher is None:
            model = Popularity(PopularityConfig(), split.train.n_users, split.train.n_items)
            model.fit(split.train)
        else:
            model = context.model(self.teacher)
        if self.history_length is None:
            queries, ids = final_queries(split.train)
        else:
            queries, ids = prefix_queries(split.train, self.history_length)
        labels = record(
            model,
            queries,
            ids,
            context.store.folder(self.stage) / "labels",
            RecordConfig(**self.config.model_dump(exclude={"queries"})),
            seed=child_seed(self.seed, "record"),
            data_fingerprint=context.prepared.dataset.fingerprint,
            teacher_fingerprint="popularity" if self.teacher is None else self.teacher.key,
            validation=split.queries("validation"),
            held_out=split.held_out,
            progress=lambda done, of: on_progress(done, of, "queries"),
        )
        return {"temperature": labels.temperature, "bytes": labels.summary()["bytes"], "queries": len(labels)}


@dataclass(frozen=True)
class TrainStudent(Task):
    """Train a student: alone where `labels` is None, else distilled from these soft labels, as they are or altered."""

    student: Student
    settings: Alone
    seed: int
    labels: Stage | None = None
    transform: Transform = "none"

    def execute(self, context: Context, on_progress: Callable[[int, int, str], None]) -> Mapping[str, Any]:
        """Train, round to the student's precision, and save."""
        folder, split = context.store.folder(self.stage), context.prepared.split
        model = build(self.student.model, split.train.n_users, split.train.n_items, seed=self.seed)
        assert isinstance(model, DotProductModel)  # the recipe allows no other student
        options: dict[str, Any] = {
            "seed": child_seed(self.seed, "training"),
            "disliked": context.disliked,
            "checkpoint": folder / "checkpoint.safetensors",
            "on_epoch": _shown(self.settings.training, on_progress),
        }
        supervision, training = self.settings.supervision, self.settings.training
        if self.labels is None:
            curve = fit(model, split, supervision, training, **options)
        elif isinstance(self.settings, Distilled):
            labels = self._labels(context)
            curve = distil(model, split, labels, self.settings.distillation, supervision, training, **options)
        else:
            raise RecipeError(f"{self.stage.name}: soft labels without settings for distillation")
        return _saved(model, folder, curve, self.student)

    def _labels(self, context: Context) -> SoftLabels:
        assert self.labels is not None
        labels = SoftLabels.open(context.store.folder(self.labels) / "labels")
        if self.transform == "shuffled":
            return ShuffledLabels(labels, self.seed)
        return HardPositives(labels) if self.transform == "hard" else labels


@dataclass(frozen=True)
class Truncate(Task):
    """Cut a trained model with vectors down to the bytes of a student, without training."""

    members: tuple[Stage, ...]
    like: Stage

    def execute(self, context: Context, on_progress: Callable[[int, int, str], None]) -> Mapping[str, Any]:
        """Truncate the first member with vectors, and save; a parameter is a byte here."""
        models = [context.model(member) for member in self.members]
        candidates = [model for model in models if isinstance(model, DotProductModel)]
        if not candidates:
            raise RecipeError("the control 'truncated teacher' needs a member with vectors; leave it out")
        limit = int(context.store.result(self.like)["bytes"])
        rank, size = truncate_(candidates[0], limit)
        saved = _saved(candidates[0], context.store.folder(self.stage), [])
        return {**saved, "rank": rank, "bytes": size, "parameters": size}


@dataclass(frozen=True)
class TestModel(Task):
    """Answer the test queries with a stage's model and keep metrics and lists."""

    model: Stage
    metrics: tuple[str, ...]

    def execute(self, context: Context, on_progress: Callable[[int, int, str], None]) -> Mapping[str, Any]:
        """Measure per query, save, and return means."""
        test = test_model(context.model(self.model), context.prepared, self.metrics)
        save_test(test, context.store.folder(self.stage))
        return {name: float(values.mean()) for name, values in test.metrics.items()}


def _shown(training: TrainingConfig, on_progress: Callable[[int, int, str], None]) -> Callable[[Epoch], None]:
    best = 0.0

    def show(epoch: Epoch) -> None:
        nonlocal best
        best = max(best, epoch.validation or 0.0)
        text = f"loss {epoch.losses['loss']:.4f}, validation NDCG@10 best {best:.4f}"
        if epoch.validation is not None:
            text += f", now {epoch.validation:.4f}"
        on_progress(epoch.number, training.epochs, text)

    return show


def _saved(model: Model, folder: Path, curve: list[Epoch], student: Student | None = None) -> dict[str, Any]:
    """Save a model, and say what is to be known of it and of its training."""
    precision = "float32" if student is None else student.precision
    size = save_model(quantize_(model, precision), folder, precision)
    (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    return {
        "bytes": size,
        "parameters": sum(value.numel() for value in model.serving_state().values()),
        "train_seconds": sum(epoch.seconds for epoch in curve),
        "curve": [
            {"epoch": e.number, "losses": dict(e.losses), "validation": e.validation, "seconds": e.seconds}
            for e in curve
        ],
    }
