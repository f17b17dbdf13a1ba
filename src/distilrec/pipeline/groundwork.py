"""What all arms of a run learn from: content, teacher, soft labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from distilrec.models import SequenceConfig, VectorConfig, modalities
from distilrec.pipeline.content_tasks import EncodeContent, EncodeWords
from distilrec.pipeline.stages import Stage
from distilrec.pipeline.task import Task
from distilrec.pipeline.tasks import FitMember, RecordLabels, WeighTeacher
from distilrec.recipe import Member, Recipe
from distilrec.rng import child_seed

__all__ = ["TEACHER", "Groundwork", "settings_of"]

TEACHER = "teacher"


@dataclass(frozen=True)
class Groundwork:
    """Its tasks. fingerprint: of the data and their split. contents: fingerprints of the items' content."""

    recipe: Recipe
    fingerprint: str
    contents: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def data(self) -> Stage:
        """The data, as a stage that is never run: its key changes when the data or the split do."""
        return Stage("data", {"fingerprint": self.fingerprint})

    @cached_property
    def encodings(self) -> dict[str, EncodeContent]:
        """The vectors of each modality that a model reads."""
        recipe, found = self.recipe, {}
        models = [*(member.model for member in recipe.teacher), recipe.student.model]
        models += [student.model for student in recipe.students.values()]
        models += [] if recipe.hybrid is None else recipe.hybrid.members.values()
        for name in sorted({name for each in models for name in modalities(each)}):
            config = recipe.encoder(name)
            assert config is not None  # the recipe has seen that there is one
            settings: dict[str, Any] = {"encoder": settings_of(config), "content": self.contents[name]}
            tuning, parents = recipe.fine_tuning.get(name), tuple[Stage, ...]()
            if tuning is not None:  # it learns from the log
                settings |= {"fine_tuning": settings_of(tuning), "seed": recipe.seed}
                parents = (self.data,)
            stage = Stage(f"content {name}", settings, parents)
            found[name] = EncodeContent(stage, name, config, tuning, child_seed(recipe.seed, "fine-tuning", name))
        return found

    @cached_property
    def words(self) -> dict[str, EncodeWords]:
        """Where users are held out, the vectors of what is written on their items, by modality of text."""
        split = self.recipe.data.split
        if split.kind != "cold-users" or not any(split.after):
            return {}
        return {
            name: EncodeWords(Stage(f"words of {name}", {}, (self.data, task.stage)), name, task.stage)
            for name, task in self.encodings.items()
            if task.config.kind == "text"
        }

    def content_of(self, model: Any) -> tuple[tuple[str, Stage], ...]:
        """The stages that a model of these settings reads its content from."""
        return tuple((name, self.encodings[name].stage) for name in modalities(model))

    @cached_property
    def members(self) -> tuple[FitMember, ...]:
        """The members of the teacher."""
        return tuple(map(self._member, self.recipe.teacher))

    def _member(self, member: Member) -> FitMember:
        settings = settings_of(member, seed=self.recipe.seed)
        checkpoints = self.recipe.record.checkpoints if isinstance(member.model, VectorConfig) else 0
        if checkpoints:
            settings["checkpoints"] = checkpoints
        content, cost = self.content_of(member.model), self._cold_cost(member.model)
        if cost is not None:
            settings["cold_cost"] = cost
        ablation = self.recipe.evaluation.ablation
        if ablation:
            settings["ablation"] = True
        stage = Stage(f"member {member.name}", settings, (self.data, *(stage for _, stage in content)))
        return FitMember(stage, member, self.recipe.seed, checkpoints, content, cost, ablation)

    def _cold_cost(self, model: Any) -> float | None:
        """What cold items' room may cost, where items are held out and the model knows them by content."""
        held_out = self.recipe.data.split.kind == "cold-items"
        return self.recipe.evaluation.cold_cost if held_out and modalities(model) else None

    @cached_property
    def teacher(self) -> Task:
        """The teacher."""
        return self._weighed(TEACHER, self.members)

    @property
    def teaching(self) -> tuple[Task, ...]:
        """All that makes the teacher, each after what it depends on."""
        return (*self.encodings.values(), *self.members, self.teacher)

    @property
    def teacher_names(self) -> tuple[str, ...]:
        """The teacher's members, in the order of their weights."""
        return tuple(member.name for member in self.recipe.teacher)

    def _weighed(self, name: str, members: Sequence[Task]) -> WeighTeacher:
        """A teacher of these members."""
        stages, by_history = tuple(member.stage for member in members), self.recipe.weighing == "by-history"
        settings = {"weighing": "by-history"} if by_history else {}
        return WeighTeacher(Stage(name, settings, stages), stages, by_history)

    @cached_property
    def labels(self) -> RecordLabels:
        """The teacher's soft labels."""
        return self._record("soft labels", self.teacher.stage)

    @cached_property
    def member_labels(self) -> dict[str, tuple[RecordLabels, ...]]:
        """Each member's, from its earliest checkpoint to the finished model; none where the recipe asks for none."""
        found = {}
        for task in self.members if self.recipe.record.members else ():
            name = f"soft labels of {task.member.name}"
            early = (
                self._record(f"{name} at checkpoint {number}", task.stage, number, of_member=True)
                for number in range(1, task.checkpoints + 1)
            )
            found[task.member.name] = (*early, self._record(name, task.stage, of_member=True))
        return found

    @property
    def groundwork(self) -> tuple[Task, ...]:
        """All that students learn from: content, members, teacher, soft labels."""
        return (*self.teaching, *self.recordings)

    @property
    def recordings(self) -> tuple[RecordLabels, ...]:
        """All soft labels but those of controls."""
        return (self.labels, *(task for tasks in self.member_labels.values() for task in tasks))

    def _record(
        self, name: str, teacher: Stage | None, checkpoint: int | None = None, *, of_member: bool = False
    ) -> RecordLabels:
        """Soft labels of a stage's model, or of popularity; each member's sample of other items is its own."""
        record = self.recipe.record
        if teacher is None:  # popularity has no vectors
            record = record.without_vectors()
        seed = child_seed(self.recipe.seed, name) if of_member else self.recipe.seed
        model, queries = self.recipe.student.model, self.recipe.record.queries
        if queries == "auto":
            queries = "prefixes" if isinstance(model, SequenceConfig) else "final"
        length = model.history_length if isinstance(model, SequenceConfig) and queries == "prefixes" else None
        settings = {**record.model_dump(mode="json", exclude={"members", "checkpoints"}),
                    "history_length": length, "seed": seed}  # fmt: skip
        if checkpoint is not None:
            settings["checkpoint"] = checkpoint
        if self.recipe.data.split.kind == "cold-items":
            settings["left_out"] = "cold items"
        stage = Stage(name, settings, (self.data, *([] if teacher is None else [teacher])))
        return RecordLabels(stage, teacher, record, length, seed, checkpoint)


def settings_of(part: Any, **more: Any) -> dict[str, Any]:
    """A part of the recipe as plain JSON, with more beside it: what a stage's key depends on."""
    return {**part.model_dump(mode="json"), **more}
