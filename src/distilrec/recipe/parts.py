"""The parts of a recipe, each a setting or several that belong together."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator

from distilrec.distillation import AnyJointMethod, DistillationConfig, Mutual
from distilrec.metrics import Metric
from distilrec.models import AnyModelConfig, Precision, Supervision, VectorConfig, modalities
from distilrec.ranking import AUC
from distilrec.soft_labels import RecordConfig
from distilrec.training import TrainingConfig

__all__ = [
    "Alone", "ArmName", "Auto", "Blend", "Chosen", "Control", "Distilled", "Evaluation", "Joint", "Member", "Part",
    "Record", "Smallest", "Student",
]  # fmt: skip

ArmName: TypeAlias = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_+-]*$")]
Control: TypeAlias = Literal[
    "trained longer",
    "recency-weighted",
    "label smoothing",
    "self-distilled",
    "shuffled teacher",
    "popularity teacher",
    "top-10 as positives",
    "truncated teacher",
    "content-kNN",
    "ridge regression",
    "popularity",
    "random",
]


class Part(BaseModel):
    """Strict: a key that isn't known is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Member(Part):
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


class Student(Part):
    """The small model, and the precision of its numbers when shipped."""

    model: AnyModelConfig
    precision: Precision = "float32"

    @field_validator("model")
    @classmethod
    def _has_vectors(cls, model: AnyModelConfig) -> AnyModelConfig:
        if not isinstance(model, VectorConfig):
            raise ValueError(f"{model.model} can't be distilled into; choose a model with vectors")
        return model


class Alone(Part):
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


class Blend(Part):
    """A hybrid: other models' scores beside the distilled student's, weighed by how much is known of user and item.

    members: models in closed form by name, such as ease for what others took, and content_knn for what resembles it.
    """

    members: dict[str, AnyModelConfig] = Field(min_length=1)


class Evaluation(Part):
    """What is measured, and how often.

    metrics: at least one; the first is the headline. seeds: students trained, alone and distilled. controls, and
    control_seeds of each. widths: embedding sizes of further students, for the picture of quality against size.
    recency_half_life: of the control that weighs recent interactions more. cold_cost: where items are held out, the
    share of their quality that warm items may lose, on validation, for the room that cold ones get in one list.
    rivals: models in closed form by name, fitted to the same data and compared with the student, such as iALS of its
    size.
    ablation: whether the teacher is also tested with each of the sources that it knows items by alone, and without it;
    where content is for new items only, with each modality, and the others keep their ids.
    """

    metrics: tuple[str, ...] = ("ndcg@10", "recall@10", "mrr@10", "hit_rate@10", "precision@10", "f1@10",
                                "map@10", "recall@50", "auc")  # fmt: skip
    seeds: int = Field(5, ge=1)
    controls: tuple[Control, ...] = ()
    rivals: dict[ArmName, AnyModelConfig] = Field(default_factory=dict)
    control_seeds: int = Field(1, ge=1)
    widths: tuple[int, ...] = ()
    recency_half_life: float = Field(20.0, gt=0)
    cold_cost: float = Field(0.02, ge=0, lt=1)
    ablation: bool = False

    @field_validator("rivals")
    @classmethod
    def _are_in_closed_form(cls, rivals: dict[str, AnyModelConfig]) -> dict[str, AnyModelConfig]:
        for name, model in rivals.items():
            if isinstance(model, VectorConfig) or modalities(model):
                raise ValueError(f"{name}: a {model.model} isn't fitted to a log in closed form; name another model")
        return rivals

    @field_validator("metrics")
    @classmethod
    def _are_metrics(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        if not metrics:
            raise ValueError("name at least one metric, the headline first")
        for name in metrics:
            if name != AUC:
                Metric.parse(name)
        return metrics


class Chosen(Part):
    """How an arm's settings were found: a note that tuning leaves in the recipe."""

    trials: int
    validation: float
    settings: dict[str, float | int | str | None]


class Smallest(Part):
    """How the student's width and precision were found: a note that a search for the smallest leaves in the recipe.

    keep, max_bytes, max_ms: what was asked for, None where nothing was. tried: how many students. kept: the share of
    the teacher's NDCG@10 on validation that the chosen one keeps; bytes: of its weights; ms: its median per query.
    """

    keep: float | None
    max_bytes: int | None
    max_ms: float | None
    tried: int
    kept: float
    bytes: int
    ms: float


class Auto(Part):
    """How a run chooses its distillation method: a small search on validation.

    among: names of methods to try beside the recipe's own distilled student and what is `compared`; None takes a short
    list, as far as record and student allow. trials: for each.
    """

    method: Literal["auto"] = "auto"
    among: tuple[str, ...] | None = Field(None, min_length=1)
    trials: int = Field(2, ge=1)
