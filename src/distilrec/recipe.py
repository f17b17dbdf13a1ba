"""The YAML of one run: strict and typed; a setting that isn't known is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from distilrec.data import NAMED_SETS, DataConfig, Prepared
from distilrec.distillation import METHODS, AnyJointMethod, DistillationConfig, Mutual, check_pair
from distilrec.distillation.method import Supply
from distilrec.errors import RecipeError
from distilrec.metrics import Metric
from distilrec.models import AnyModelConfig, Precision, Supervision, VectorConfig, has_vectors, reads_histories
from distilrec.ranking import AUC
from distilrec.soft_labels import RecordConfig
from distilrec.training import TrainingConfig

__all__ = ["Auto", "Chosen", "Control", "Recipe", "read_recipe", "recipe_for", "write_recipe"]

Control: TypeAlias = Literal[
    "trained longer",
    "recency-weighted",
    "label smoothing",
    "self-distilled",
    "shuffled teacher",
    "popularity teacher",
    "top-10 as positives",
    "truncated teacher",
]

ArmName: TypeAlias = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_+-]*$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Member(_Part):
    """One model of the teacher, and how it is trained."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    model: AnyModelConfig
    supervision: Supervision = Supervision()
    training: TrainingConfig = TrainingConfig()


class Record(RecordConfig):
    """What is recorded of the teacher, and for which queries.

    queries: `prefixes`, each place of each training history, for students that read histories; `final`, the end of
    each training history, for students with user vectors; `auto` chooses by the student. members: whether each member
    of the teacher is recorded, too, for methods that learn from several. checkpoints: so many earlier states of each
    member that is trained by steps, evenly spaced on the way to its best epoch, are recorded as well, for `hetcomp`.
    """

    queries: Literal["auto", "final", "prefixes"] = "auto"
    members: bool = False
    checkpoints: int = Field(0, ge=0, le=100)

    def without_vectors(self) -> Record:
        """The same of a model that has no vectors."""
        return self.model_copy(update={"hidden": False, "kind": "full" if self.kind == "full" else "topk"})

    def settings(self) -> RecordConfig:
        """Of one recording."""
        return RecordConfig(**self.model_dump(include=set(RecordConfig.model_fields)))


class Student(_Part):
    """The small model, and the precision of its numbers when shipped."""

    model: AnyModelConfig
    precision: Precision = "float32"

    @field_validator("model")
    @classmethod
    def _has_vectors(cls, model: AnyModelConfig) -> AnyModelConfig:
        if not isinstance(model, VectorConfig):
            raise ValueError(f"{model.model} can't be distilled into; choose a model with vectors")
        return model


class Alone(_Part):
    """How the student is trained without a teacher.

    dropout: in the place of the student's own, since a student with soft labels needs less of it.
    """

    dropout: float | None = Field(None, ge=0, lt=1)
    supervision: Supervision = Supervision()
    training: TrainingConfig = TrainingConfig()


class Distilled(Alone):
    """How the student is trained with the teacher's soft labels."""

    distillation: DistillationConfig = DistillationConfig()


class Joint(Distilled):
    """How the student is trained together with a teacher, each from the other as it stands; nothing is recorded.

    teacher: the member whose model is trained anew beside the student; None takes the first with vectors. method: how
    the two learn from each other, `mutual` or `bd`: by its name, or with settings of its own.
    """

    teacher: str | None = None
    method: AnyJointMethod = Mutual()

    @field_validator("method", mode="before")
    @classmethod
    def _by_name(cls, method: object) -> object:
        return {"method": method} if isinstance(method, str) else method


class Evaluation(_Part):
    """What is measured, and how often.

    metrics: at least one NDCG; the first is the headline. seeds: students trained, alone and distilled. controls, and
    control_seeds of each. widths: embedding sizes of further students, for the picture of quality against size.
    recency_half_life: of the control that weighs recent interactions more.
    """

    metrics: tuple[str, ...] = ("ndcg@10", "recall@10", "mrr@10", "hit_rate@10", "precision@10", "f1@10",
                                "map@10", "recall@50", "auc")  # fmt: skip
    seeds: int = Field(5, ge=1)
    controls: tuple[Control, ...] = ()
    control_seeds: int = Field(1, ge=1)
    widths: tuple[int, ...] = ()
    recency_half_life: float = Field(20.0, gt=0)

    @field_validator("metrics")
    @classmethod
    def _are_metrics(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        if not metrics:
            raise ValueError("name at least one metric, the headline first")
        for name in metrics:
            if name != AUC:
                Metric.parse(name)
        return metrics


class Chosen(_Part):
    """How an arm's settings were found: a note that tuning leaves in the recipe."""

    trials: int
    validation: float
    settings: dict[str, float | int | str | None]


class Auto(_Part):
    """How a run chooses its distillation method: a small search on validation.

    among: names of methods to try beside the recipe's own distilled student and what is `compared`; None takes a short
    list, as far as record and student allow. trials: for each.
    """

    method: Literal["auto"] = "auto"
    among: tuple[str, ...] | None = Field(None, min_length=1)
    trials: int = Field(2, ge=1)


class Recipe(_Part):
    """All settings of a run.

    method: `auto`, by its name or with settings of its own, chooses how the distilled student learns; None leaves it to
    `distilled`. tried: what such a choice saw, best first.
    compared: further ways to distil the same student from the same soft labels, by name, each an arm of its own.
    since: the folder of a finished run to go on from. Its teacher is taken over as it is, its soft labels and students
    are continued, and drift is reported; `data` is the whole log of today.
    """

    name: str = "run"
    since: str | None = None
    seed: int = 0
    method: Auto | None = None
    data: DataConfig
    teacher: tuple[Member, ...] = Field(min_length=1)
    record: Record = Record()
    student: Student
    alone: Alone = Alone()
    distilled: Distilled = Distilled()
    joint: Joint | None = None
    compared: dict[ArmName, Distilled] = {}
    evaluation: Evaluation = Evaluation()
    tuned: dict[str, Chosen] = {}
    tried: dict[str, Chosen] = {}

    @field_validator("method", mode="before")
    @classmethod
    def _auto_by_name(cls, method: object) -> object:
        return {"method": method} if isinstance(method, str) else method

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [member.name for member in self.teacher]
        names += self.compared
        if len(set(names)) < len(names) or "teacher" in names:
            raise ValueError(
                f"members of the teacher and what is compared need names of their own, and not 'teacher'; given {names}"
            )
        return self

    @model_validator(mode="after")
    def _one_measure(self) -> Self:
        """Students are chosen and drawn side by side by their validation quality, so all must mean the same by it."""
        measures = {part.training.metric for part in (self.alone, self.distilled, *self.compared.values())}
        if len(measures) > 1:
            raise ValueError(f"alone, distilled and compared need one training.metric; given {sorted(measures)}")
        return self

    @model_validator(mode="after")
    def _can_be_run(self) -> Self:
        """What would fail only after hours of training is refused now."""
        for width in self.evaluation.widths:
            self.with_student(embedding_size=width)
        model = self.student.model
        if "dropout" not in type(model).model_fields and not (self.alone.dropout is self.distilled.dropout is None):
            raise ValueError(f"a {model.model} has no dropout; take it out of alone and distilled")
        for name, settings in {"distilled": self.distilled, **self.compared}.items():
            self._check_distilled(name, settings)
        unfit = self.unfit(self.distilled)
        if unfit is not None:
            raise ValueError(unfit)
        if self.method is not None:
            self._check_auto(self.method)
        if "top-10 as positives" in self.evaluation.controls and 1.0 not in self.record.temperatures:
            raise ValueError("record.temperatures must hold 1, which the control 'top-10 as positives' asks for")
        if self.record.hidden or self.record.kind == "factored":
            lacks = [member.name for member in self.teacher if not has_vectors(member.model)]
            if lacks or (len(self.teacher) > 1):
                raise ValueError(
                    "record.hidden and record.kind 'factored' need a teacher of one member that has vectors; "
                    + (f"{lacks[0]} has none" if lacks else "an ensemble has none")
                )
        if "truncated teacher" in self.evaluation.controls and not any(has_vectors(m.model) for m in self.teacher):
            raise ValueError("the control 'truncated teacher' needs a member with vectors; leave it out")
        if self.record.checkpoints and not self.record.members:
            raise ValueError("record.checkpoints are those of the members; they need record.members: true")
        return self

    def _check_auto(self, auto: Auto) -> None:
        if self.own_method in self.compared:
            raise ValueError(
                f"method: auto knows the distilled student as {self.own_method!r}; compare under other names"
            )
        for name in auto.among or ():
            unfit = self.unfit(self.taught_by(name))
            if unfit is not None:
                raise ValueError(f"method.among: {unfit}")

    def _check_distilled(self, name: str, settings: Distilled) -> None:
        config, record = settings.distillation, self.record
        if config.temperature not in record.temperatures:
            raise ValueError(f"{name}: record.temperatures {record.temperatures} lacks {config.temperature:g}")
        if config.knowledge_weight and not record.hidden:
            raise ValueError(f"{name}: distillation.knowledge_weight needs record.hidden: true")
        lacking = self.lacking(settings)
        if lacking is not None:
            raise ValueError(f"{name}: {lacking}")

    def lacking(self, settings: Distilled, record: Record | None = None) -> str | None:
        """What the methods of these settings miss in the recording, the recipe's if none is given, and in the student.

        None if nothing.
        """
        record, methods = record or self.record, settings.distillation.methods
        longest = max(method.listed for method in methods)
        supply = Supply(
            kind=record.kind,
            k=longest if record.kind == "full" else record.k,
            others=record.tail > 0 and record.kind != "full",
            temperature=1.0 in record.temperatures,
            hidden=record.hidden or record.kind == "factored",
            filter_seen=record.filter_seen,
            members=record.members,
            checkpoints=record.checkpoints > 0 and any(isinstance(m.model, VectorConfig) for m in self.teacher),
            reads_histories=reads_histories(self.student.model),
        )
        strangers = {name for method in methods for name in getattr(method, "weights", {})}
        strangers -= {member.name for member in self.teacher}
        found = [f"{min(strangers)!r} is weighed, and is no member of the teacher"] if strangers else []
        found += [lacking for method in methods if (lacking := method.lacking(supply)) is not None]
        return found[0] if found and settings.distillation.alpha else None

    def unfit(self, settings: Distilled) -> str | None:
        """Why the distilled student can't be trained with these settings; None if it can.

        As `lacking`, and controls have its settings, too.
        """
        found = self.lacking(settings)
        if found is None and "popularity teacher" in self.evaluation.controls:
            lacking = self.lacking(settings, self.record.without_vectors())
            if lacking is not None:
                found = f"the control 'popularity teacher' has no vectors, and {lacking}; leave it out"
        return found

    @property
    def own_method(self) -> str:
        """What the distilled student learns by: `kl`, or several methods with a plus between them."""
        return "+".join(method.name for method in self.distilled.distillation.methods)

    def taught_by(self, name: str) -> Distilled:
        """The distilled student's settings with another method: as it is compared, else its defaults with true labels.

        Raises RecipeError on a name that isn't known.
        """
        if name == self.own_method:
            return self.distilled
        if name in self.compared:
            return self.compared[name]
        if name not in METHODS:
            raise RecipeError(f"No method is called {name!r}; there are {', '.join(sorted(METHODS))}")
        mixed = self.distilled.distillation.model_copy(update={"alpha": 0.5, "methods": (METHODS[name](),)})
        return self.distilled.model_copy(update={"distillation": mixed})

    def with_student(self, **settings: Any) -> Recipe:
        """The same with a student of other settings: `precision`, or those of its model. Raises RecipeError."""
        student = self.student.model_dump()
        of_student = {name: settings.pop(name) for name in ("precision",) if name in settings}
        try:
            changed = Student.model_validate({**student, **of_student, "model": {**student["model"], **settings}})
        except ValidationError as error:
            raise RecipeError(f"student.model with {settings}: {error.errors()[0]['msg']}") from error
        return self.model_copy(update={"student": changed})

    @model_validator(mode="after")
    def _joint_is_possible(self) -> Self:
        if self.joint is not None:
            check_pair(self.joint_teacher(self.joint).model, self.student.model, self.joint.supervision)
        return self

    def joint_teacher(self, joint: Joint) -> Member:
        """The member that `joint` means."""
        fitting = {member.name: member for member in self.teacher if isinstance(member.model, VectorConfig)}
        name = joint.teacher or next(iter(fitting), None)
        if name not in fitting:
            raise RecipeError(f"joint.teacher: {name!r} is no member with vectors; those are {list(fitting)}")
        return fitting[name]


def read_recipe(path: Path) -> Recipe:
    """Read a recipe; a data file in it may be given relative to the recipe. Raises RecipeError naming the key."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(f"{path}: no such recipe; `distilrec init FILE` writes one for your data") from error
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise RecipeError(f"{path}: not a YAML file: {error}") from error
    if not isinstance(content, dict):
        raise RecipeError(f"{path}: a recipe is a mapping with keys such as data, teacher, student")
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(key) for key in first["loc"]) or "the recipe"
        raise RecipeError(f"{path}: {place}: {first['msg']} (given: {first['input']!r})") from error
    return _with_paths(recipe, path.parent)


def _with_paths(recipe: Recipe, folder: Path) -> Recipe:
    """Make the paths of data files absolute; a file beside the recipe goes before one in the working folder."""

    def found(path: str) -> str:
        places = () if path in NAMED_SETS else (folder, Path())
        files = [place / path for place in places if (place / path).exists()]
        return str(files[0].resolve()) if files else path

    data = recipe.data.model_copy(update={"source": found(recipe.data.source)})
    if data.items is not None:
        data = data.model_copy(update={"items": data.items.model_copy(update={"path": found(data.items.path)})})
    return recipe.model_copy(update={"data": data})


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Write a recipe as YAML, without the settings that have their default."""
    short = recipe.model_dump(mode="json", exclude_defaults=True)
    content = _with_tags({"name": recipe.name, **short}, recipe.model_dump(mode="json"))
    partial = path.with_suffix(".partial")
    partial.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    partial.replace(path)


def _with_tags(short: Any, full: Any) -> Any:
    """Put the keys back that say which model, split or method is meant: they are defaults of their own classes."""
    if isinstance(short, dict):
        tags = {key: full[key] for key in ("model", "kind", "method") if isinstance(full.get(key), str)}
        return {**tags, **{key: _with_tags(value, full[key]) for key, value in short.items()}}
    if isinstance(short, list):
        return [_with_tags(*pair) for pair in zip(short, full, strict=True)]
    return short


def recipe_for(data: DataConfig, prepared: Prepared) -> Recipe:
    """A recipe for someone's own data: a strong teacher that fits their size, and a light student.

    The teacher's members read histories; EASE joins where its items x items matrix stays below 400 MB. The student
    reads histories, too, so new users are served at once.
    """
    lengths = prepared.split.train.histories.lengths
    length = int(np.clip(2 ** np.ceil(np.log2(max(np.quantile(lengths, 0.9), 2))), 16, 128))
    training = {"batch_size": 64, "learning_rate": 2e-3, "epochs": 100, "patience": 5}
    shared = {"history_length": length, "dropout": 0.4}
    teacher: list[dict[str, object]] = [
        {"name": "encoder", "model": {"model": "history_encoder", **shared}, "training": training},
        {"name": "sasrec", "model": {"model": "sasrec", **shared}, "training": training},
    ]
    if prepared.dataset.interactions.n_items <= 10_000:
        teacher.append({"name": "ease", "model": {"model": "ease", "recency_half_life": 20}})
    student = {"model": "history_encoder", "embedding_size": 16, "history_length": length, "dropout": 0.1}
    content = {
        "name": Path(data.source).stem,
        "data": data,
        "teacher": teacher,
        "student": {"model": student},
        "alone": {"training": training},
        "distilled": {"training": training, "distillation": {"alpha": 1.0, "temperature": 2.0, "tail": "sampled"}},
        "evaluation": {"seeds": 3, "controls": ["recency-weighted", "shuffled teacher"], "widths": [8, 32]},
    }
    return Recipe.model_validate(content)
