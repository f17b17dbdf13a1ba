"""The YAML of one run: strict and typed; a setting that isn't known is an error."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from distilrec.data import DataConfig
from distilrec.distillation import METHODS, check_pair
from distilrec.distillation.method import Supply
from distilrec.encoders import (
    AnyEncoderConfig,
    AttributesConfig,
    EncoderConfig,
    LanguageModelConfig,
    TextConfig,
    VectorsConfig,
)
from distilrec.encoders.lora import LoRAConfig
from distilrec.errors import RecipeError
from distilrec.models import ModelConfig, SequenceConfig, VectorConfig, has_vectors, modalities, reads_histories
from distilrec.recipe.parts import (
    Alone,
    ArmName,
    Auto,
    Blend,
    Chosen,
    Distilled,
    Evaluation,
    Joint,
    Member,
    Part,
    Record,
    Smallest,
    Student,
)

__all__ = ["Recipe"]

_DEFAULTS: dict[str, EncoderConfig] = {"vectors": VectorsConfig(), "attributes": AttributesConfig()}
OF_MEMBERS = ("truncated teacher", "ridge regression")  # controls that are made from the teacher's own weights
_SUCH_AS = {
    "text": "{encoder: text, model: sentence-transformers/all-MiniLM-L6-v2}",
    "image": "{encoder: image, model: microsoft/resnet-50}",
    "audio": "{encoder: onnx_audio, path: encoder.onnx}",
}


class Recipe(Part):
    """All settings of a run.

    weighing: of the teacher's members, on validation: `fixed`, the same weights for all, or `by-history`, weights for
    each length of the history; the latter is for users of whom little is known.
    method: `auto`, by its name or with settings of its own, chooses how the distilled student learns; None leaves it to
    `distilled`. tried: what such a choice saw, best first. smallest: what a search for the smallest student saw.
    compared: further ways to distil the same student from the same soft labels, by name, each an arm of its own.
    encoders: what makes vectors of each modality in `data.items.content`; those of vectors and attributes need none.
    fine_tuning: by modality, how its text encoder is fine-tuned on what users of the training part took one after the
    other, before it encodes.
    students: further students by name, each trained alone and distilled with the settings of the recipe's own.
    hybrid: an arm in which the distilled student's scores are combined with those of other models.
    teacher_from: the folder of a finished run over several domains, whose teacher teaches this one; `distilrec run`
    writes it into the recipe of each domain.
    since: the folder of a finished run to go on from. Its teacher is taken over as it is, its soft labels and students
    are continued, and drift is reported; `data` is the whole log of today.
    """

    name: str = "run"
    since: str | None = None
    teacher_from: str | None = None
    seed: int = 0
    method: Auto | None = None
    data: DataConfig
    teacher: tuple[Member, ...] = Field(min_length=1)
    weighing: Literal["fixed", "by-history"] = "fixed"
    record: Record = Record()
    student: Student
    alone: Alone = Alone()
    distilled: Distilled = Distilled()
    joint: Joint | None = None
    compared: dict[ArmName, Distilled] = Field(default_factory=dict)
    evaluation: Evaluation = Evaluation()
    encoders: dict[str, AnyEncoderConfig] = Field(default_factory=dict)
    fine_tuning: dict[str, LoRAConfig] = Field(default_factory=dict)
    students: dict[ArmName, Student] = Field(default_factory=dict)
    hybrid: Blend | None = None
    tuned: dict[str, Chosen] = Field(default_factory=dict)
    tried: dict[str, Chosen] = Field(default_factory=dict)
    smallest: Smallest | None = None

    @field_validator("method", mode="before")
    @classmethod
    def _auto_by_name(cls, method: object) -> object:
        return {"method": method} if isinstance(method, str) else method

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [member.name for member in self.teacher]
        names += [*self.compared, *self.evaluation.rivals, *self.evaluation.controls]
        names += ["teacher"] if self.hybrid is None else ["teacher", "hybrid"]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"{twice[0]!r} is the name of two things; members of the teacher, rivals, controls and what is "
                "compared need names of their own"
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
    def _content_is_there(self) -> Self:
        models: dict[str, ModelConfig] = {f"teacher {member.name}": member.model for member in self.teacher}
        models |= {"student": self.student.model} | {name: each.model for name, each in self.students.items()}
        if self.hybrid is not None:
            models |= self.hybrid.members
            trained = [name for name, each in self.hybrid.members.items() if isinstance(each, VectorConfig)]
            if trained:
                raise ValueError(f"hybrid.members.{trained[0]} is trained by steps; name models in closed form")
        content = {} if self.data.items is None else self.data.items.content
        for owner, model in models.items():
            for name in modalities(model):
                if name not in content:
                    raise ValueError(f"{owner} reads the content {name!r}, which data.items.content doesn't name")
                if content[name].knows_later:
                    raise ValueError(
                        f"{owner} reads {name!r}, which was written with later knowledge, so that its numbers would be "
                        "too good; leave it out, or say knows_later: false where that isn't so"
                    )
        read = {name for model in models.values() for name in modalities(model)}
        self._check_encoders(read)
        self._check_content_controls(read)
        return self

    def _check_encoders(self, read: set[str]) -> None:
        content = {} if self.data.items is None else self.data.items.content
        for name in sorted(read):
            kind, encoder = content[name].kind, self.encoder(name)
            if encoder is None:
                raise ValueError(f"encoders.{name}: name an encoder of {kind}, such as {_SUCH_AS[kind]}")
            if encoder.kind != kind:
                raise ValueError(f"encoders.{name} reads {encoder.kind}, and the content is {kind}")
        strange = sorted(set(self.encoders) - set(content))
        if strange:
            there = ", ".join(content) or "nothing"
            raise ValueError(f"encoders.{strange[0]}: no such content in data.items.content, which names {there}")
        for name in self.fine_tuning:
            if name not in read:
                raise ValueError(
                    f"fine_tuning.{name}: models read {', '.join(sorted(read)) or 'no content'}; leave it out"
                )
            encoder = self.encoder(name)
            if not isinstance(encoder, TextConfig | LanguageModelConfig) or encoder.adapter is not None:
                raise ValueError(
                    f"fine_tuning.{name}: fine-tuned are encoders of text that have no adapter yet; leave it out"
                )

    def _check_content_controls(self, read: set[str]) -> None:
        if self.evaluation.ablation and (len(self.teacher) > 1 or not modalities(self.teacher[0].model)):
            raise ValueError("evaluation.ablation is of a teacher of one member that reads content; leave it out")
        asked = {"content-kNN", "ridge regression"} & set(self.evaluation.controls)
        if asked and not read:
            raise ValueError(f"the control {min(asked)!r} needs a teacher or student that reads content; leave it out")
        if "ridge regression" in asked:
            if len(self.teacher) > 1 or not isinstance(self.teacher[0].model, SequenceConfig):
                raise ValueError("the control 'ridge regression' needs a teacher of one sasrec or history_encoder")
            if self.data.split.kind != "cold-items":
                raise ValueError("the control 'ridge regression' is for a split of kind 'cold-items'; leave it out")

    @property
    def crosses_domains(self) -> bool:
        """Whether it is of one teacher over several domains, and students for each."""
        columns = self.data.columns
        return self.data.domain is None and columns is not None and columns.domain is not None

    @model_validator(mode="after")
    def _domains_fit(self) -> Self:
        if self.teacher_from is not None and self.data.domain is None:
            raise ValueError("teacher_from is for a student of one domain; name it in data.domain")
        if not self.crosses_domains and self.teacher_from is None:
            return self
        record, evaluation = self.record, self.evaluation
        unfit = {
            "since": self.since is not None,
            "record.members": record.members,
            "record.hidden": record.hidden,
            "record.kind 'factored'": record.kind == "factored",
            "evaluation.ablation": evaluation.ablation,
        }
        looks_up = not reads_histories(self.student.model)
        sampled = any(part.supervision.loss != "softmax" for part in (self.distilled, *self.compared.values()))
        unfit["a sampled loss, where students look users up,"] = looks_up and sampled
        unfit |= {f"the control {name!r}": True for name in evaluation.controls if name in OF_MEMBERS}
        for name in (name for name, given in unfit.items() if given):
            raise ValueError(f"{name} isn't for a teacher over several domains; leave it out")
        return self

    @model_validator(mode="after")
    def _students_fit(self) -> Self:
        def length(student: Student) -> int | None:
            return student.model.history_length if isinstance(student.model, SequenceConfig) else None

        for name, student in self.students.items():
            if length(student) != length(self.student):
                raise ValueError(
                    f"students.{name}: all students learn from the same soft labels, so they must read histories of "
                    f"the same length; {length(self.student)}, not {length(student)}"
                )
        return self

    def encoder(self, name: str) -> EncoderConfig | None:
        """What makes vectors of a modality; None where the recipe must say it and doesn't."""
        content = {} if self.data.items is None else self.data.items.content
        return self.encoders.get(name) or _DEFAULTS.get(content[name].kind)

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
        if "label smoothing" in self.evaluation.controls and self.alone.supervision.loss != "softmax":
            raise ValueError("the control 'label smoothing' needs alone.supervision.loss: softmax; leave it out")
        if self.record.hidden or self.record.kind == "factored":
            lacks = [member.name for member in self.teacher if not has_vectors(member.model)]
            if lacks or (len(self.teacher) > 1):
                raise ValueError(
                    "record.hidden and record.kind 'factored' need a teacher of one member that has vectors; "
                    + (f"{lacks[0]} has none" if lacks else "an ensemble has none")
                )
        cuts = "truncated teacher" in self.evaluation.controls and reads_histories(self.student.model)
        if cuts and not any(has_vectors(member.model) for member in self.teacher):
            raise ValueError("the control 'truncated teacher' needs a member with vectors; leave it out")
        if self.record.checkpoints and not self.record.members:
            raise ValueError("record.checkpoints are those of the members; they need record.members: true")
        self._check_held_out()
        return self

    def _check_held_out(self) -> None:
        teachers: dict[str, ModelConfig] = {f"teacher {member.name}": member.model for member in self.teacher}
        students = {"student": self.student.model} | {f"students.{n}": s.model for n, s in self.students.items()}
        for name, model in teachers.items() if self.record.checkpoints else ():
            if isinstance(model, SequenceConfig) and model.content is not None and model.content.new_only:
                raise ValueError(
                    f"record.checkpoints: {name} places new items once its training is done, and can't be recorded "
                    "before; leave checkpoints or content.new_only out"
                )
        kind = self.data.split.kind
        one_domain = not self.crosses_domains and self.data.domain is None  # else another one may know them
        for name, model in students.items() if kind == "cold-users" and one_domain else ():
            if not reads_histories(model):
                raise ValueError(
                    f"{name} knows users by their training, and {kind} asks for others; take one that reads"
                )
        for name, model in (teachers | students).items() if kind == "cold-items" else ():
            placed = modalities(model) or (name in teachers and "ridge regression" in self.evaluation.controls)
            if placed and isinstance(model, VectorConfig) and not model.item_bias:
                raise ValueError(f"{name}: {kind} gives items room in one list by their bias; set item_bias to true")

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
            whole=record.kind == "full" or record.tail > 0,
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
        for method in methods:
            weights = getattr(method, "weights", {})
            if weights and not any(weights.get(member.name, 1.0) for member in self.teacher):
                found.append(f"the method {method.method!r} weighs every member of the teacher 0")
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
