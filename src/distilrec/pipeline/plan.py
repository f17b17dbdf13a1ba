"""From a recipe to the tasks of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from distilrec.distillation.methods import KL
from distilrec.models import (
    ModelConfig,
    PopularityConfig,
    RandomConfig,
    SequenceConfig,
    VectorConfig,
    modalities,
    reads_histories,
)
from distilrec.pipeline.content_tasks import (
    Ablation,
    EncodeContent,
    EncodeWords,
    FitClosedForm,
    FitHybrid,
    PlaceByRidge,
    TuneContentKNN,
)
from distilrec.pipeline.sources import ablations, asked_for
from distilrec.pipeline.stages import Stage
from distilrec.pipeline.task import Task
from distilrec.pipeline.tasks import (
    FitMember,
    Members,
    RecordLabels,
    TestModel,
    TrainJointly,
    TrainStudent,
    Transform,
    Truncate,
    WeighTeacher,
)
from distilrec.recipe import Alone, Distilled, Member, Recipe, Student
from distilrec.rng import child_seed

__all__ = ["ALONE", "DISTILLED", "HYBRID", "JOINT", "TEACHER", "Arm", "Plan", "other_arms"]

INFORMED = "teacher, given validation items too"
TEACHER, ALONE, DISTILLED, JOINT = "teacher", "student alone", "distilled student", "jointly trained student"
HYBRID = "hybrid"


@dataclass(frozen=True)
class Arm:
    """One row of the report's table: the same thing under several seeds.

    role: as in the report. method: what was done, in words. trained: the task per seed. width: the embedding size
    where it isn't the recipe's, for the picture of quality against size. knows_more: whether it reads the validation
    items of test users although the student can't.
    """

    name: str
    role: str
    method: str | None
    seeds: tuple[int, ...]
    trained: tuple[Task, ...]
    student: Student | None
    width: int | None = None
    knows_more: bool = False


@dataclass(frozen=True)
class Plan:
    """All tasks of a run. fingerprint: of the data and their split. contents: fingerprints of the items' content."""

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
            settings: dict[str, Any] = {"encoder": _settings(config), "content": self.contents[name]}
            tuning, parents = recipe.fine_tuning.get(name), tuple[Stage, ...]()
            if tuning is not None:  # it learns from the log
                settings |= {"fine_tuning": _settings(tuning), "seed": recipe.seed}
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
        settings = _settings(member, seed=self.recipe.seed)
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

    @cached_property
    def arms(self) -> tuple[Arm, ...]:
        """The table of the report: teacher, student alone, distilled students, members, controls, other widths."""
        recipe = self.recipe
        teacher = Arm(TEACHER, "teacher", self._teacher_method(), (recipe.seed,), (self.teacher,), None)
        alone = self._arm(ALONE, "student_alone", None, recipe.alone)
        distilled = self._arm(DISTILLED, "distilled_student", self._own_method, recipe.distilled, labels=self.labels)
        members = [
            Arm(member.member.name, "teacher", "member of the teacher", (recipe.seed,), (member,), None)
            for member in self.members
            if len(self.members) > 1
        ]
        if not self.reads_histories and any(reads_histories(member.model) for member in recipe.teacher):
            method = "what the teacher can do with more than this student may know"
            informed = Arm(INFORMED, "teacher", method, (recipe.seed,), (self.teacher,), None, knows_more=True)
            members = [informed, *members]
        controls = [self._control(name) for name in recipe.evaluation.controls]
        controls += [self._closed_form(name, each) for name, each in recipe.evaluation.rivals.items()]
        widths = [arm for width in recipe.evaluation.widths for arm in self._at_width(width)]
        compared = [
            self._arm(name, "distilled_student", name, settings, labels=self.labels)
            for name, settings in recipe.compared.items()
        ]
        others = [arm for name, student in recipe.students.items() for arm in self._other(name, student)]
        others += self._hybrid(distilled)
        members += self._ablations()
        return (teacher, alone, distilled, *compared, *self._joint(), *others, *members, *controls, *widths)

    def _ablations(self) -> list[Arm]:
        """The teacher with each of the sources that it knows items by alone, and without it, where the recipe asks."""
        if not self.recipe.evaluation.ablation:
            return []
        member = self.members[0]
        content = member.member.model.content if isinstance(member.member.model, SequenceConfig) else None
        assert content is not None  # the recipe has seen to it
        which, arms = "new items" if content.new_only else "items", []
        for name, withheld in ablations(content).items():
            kept = " and ".join(source for source in asked_for(content) if source not in withheld)
            task = Ablation(Stage(f"{TEACHER}, {name}", {}, (member.stage,)), member.stage, name)
            method = f"the teacher, {which} known by {kept}"
            arms.append(Arm(f"{TEACHER}, {name}", "teacher", method, (self.recipe.seed,), (task,), None))
        return arms

    def _hybrid(self, distilled: Arm) -> list[Arm]:
        """Each distilled student beside the models of the recipe's hybrid, where it asks for one."""
        blend = self.recipe.hybrid
        if blend is None:
            return []
        content = tuple({pair[0]: pair for each in blend.members.values() for pair in self.content_of(each)}.values())
        settings = {"members": {name: _settings(each) for name, each in blend.members.items()}}
        tasks = []
        for number, student in zip(distilled.seeds, distilled.trained, strict=True):
            stage = Stage(f"{HYBRID} {number}", settings, (self.data, student.stage, *(stage for _, stage in content)))
            tasks.append(FitHybrid(stage, student.stage, tuple(blend.members.items()), content))
        method = f"{DISTILLED} with {', '.join(blend.members)}"
        return [Arm(HYBRID, "distilled_student", method, distilled.seeds, tuple(tasks), None)]

    def _other(self, name: str, student: Student) -> tuple[Arm, Arm]:
        """A further student, alone and distilled."""
        alone, distilled = other_arms(name)
        return (
            self._arm(alone, "student_alone", None, self.recipe.alone, student=student),
            self._arm(
                distilled, "distilled_student", self._own_method, self.recipe.distilled, labels=self.labels,
                student=student,
            ),
        )  # fmt: skip

    def _joint(self) -> tuple[Arm, ...]:
        """The student trained together with a member of the teacher, where the recipe asks for it."""
        recipe, settings = self.recipe, self.recipe.joint
        if settings is None:
            return ()
        member, student = recipe.joint_teacher(settings), _with_dropout(recipe.student, settings)
        numbers = tuple(range(recipe.evaluation.seeds))
        tasks = []
        for number in numbers:
            seed = child_seed(recipe.seed, "student", number)
            content = _settings(settings, student=_settings(student), teacher=_settings(member.model), seed=seed)
            read = {name: stage for model in (member.model, student.model) for name, stage in self.content_of(model)}
            stage = Stage(f"{JOINT} {number}", content, (self.data, *read.values()))
            tasks.append(TrainJointly(stage, student, member, settings, seed, tuple(read.items())))
        name = settings.method.method
        method = "joint" if name == "mutual" else f"joint, {name}"
        return (Arm(JOINT, "distilled_student", method, numbers, tuple(tasks), student),)

    @property
    def reads_histories(self) -> bool:
        """Whether the student does. If not, it answers from the end of training, and so does what it is compared to."""
        return reads_histories(self.recipe.student.model)

    @property
    def _own_method(self) -> str:
        own = self.recipe.own_method
        return "soft labels" if own == "kl" else own

    def _teacher_method(self) -> str | None:
        names = self.teacher_names
        return None if len(names) == 1 else "ensemble of " + ", ".join(names)

    def _control(self, name: str) -> Arm:
        alone, distilled = self.recipe.alone, self.recipe.distilled
        seeds, half_life = self.recipe.evaluation.control_seeds, self.recipe.evaluation.recency_half_life
        match name:
            case "trained longer":
                training = alone.training.model_copy(
                    update={"epochs": 3 * alone.training.epochs, "patience": 3 * alone.training.patience}
                )
                settings = alone.model_copy(update={"training": training})
                return self._arm(name, "control", "student alone, three times the patience", settings, seeds=seeds)
            case "recency-weighted":
                supervision = alone.supervision.model_copy(update={"recency_half_life": half_life})
                method = f"student alone, recent interactions weighing more (half-life {half_life:g})"
                return self._arm(name, "control", method, _with(alone, supervision), seeds=seeds)
            case "label smoothing":
                supervision = alone.supervision.model_copy(update={"label_smoothing": 0.1})
                return self._arm(name, "control", "student alone, smoothed", _with(alone, supervision), seeds=seeds)
            case "self-distilled":
                own = self._arm(ALONE, "student_alone", None, alone).trained[0].stage
                labels = self._record("soft labels of the student alone", own)
                return self._arm(name, "control", "taught by the student alone", distilled, labels=labels, seeds=seeds)
            case "popularity teacher":
                labels = self._record("soft labels of popularity", None)
                return self._arm(name, "control", "taught by popularity", distilled, labels=labels, seeds=seeds)
            case "shuffled teacher":
                method = "soft labels of other queries"
                return self._arm(
                    name, "control", method, distilled, labels=self.labels, transform="shuffled", seeds=seeds
                )
            case "top-10 as positives":
                method = "the teacher's ten best as positives, without scores"
                # Positives need all other items beside them; a softmax over the ten alone would teach nothing.
                mixed = distilled.distillation.model_copy(
                    update={"tail": "mass", "temperature": 1.0, "methods": (KL(),)}
                )
                hard = distilled.model_copy(update={"distillation": mixed})
                return self._arm(name, "control", method, hard, labels=self.labels, transform="hard", seeds=seeds)
            case "content-kNN":
                content = tuple((name, task.stage) for name, task in self.encodings.items())
                parents = (self.data, *(stage for _, stage in content))
                tuned = TuneContentKNN(Stage(name, {}, parents), content)
                return self._single(name, "neighbours by content, tuned on validation", tuned)
            case "ridge regression":
                content = tuple((name, task.stage) for name, task in self.encodings.items())
                member, cost = self.members[0].stage, self.recipe.evaluation.cold_cost
                stage = Stage(name, {"cold_cost": cost}, (self.data, member, *(stage for _, stage in content)))
                method = "from content to the teacher's items, for those that it doesn't know"
                return self._single(name, method, PlaceByRidge(stage, member, content, cost))
            case "popularity" | "random":
                return self._closed_form(name, PopularityConfig() if name == "popularity" else RandomConfig())
            case _:
                return self._truncated(name)

    def _closed_form(self, name: str, config: ModelConfig) -> Arm:
        """A model beside the student, fitted to the same data."""
        return self._single(name, None, FitClosedForm(Stage(name, _settings(config), (self.data,)), config))

    def _single(self, name: str, method: str | None, task: Task) -> Arm:
        """A control that is no student, and is made once."""
        return Arm(name, "control", method, (self.recipe.seed,), (task,), None)

    def _truncated(self, name: str) -> Arm:
        like = self._arm(DISTILLED, "distilled_student", None, self.recipe.distilled, labels=self.labels)
        stages = tuple(member.stage for member in self.members)
        task = Truncate(Stage(name, {}, (*stages, like.trained[0].stage)), stages, like.trained[0].stage)
        return self._single(name, "teacher's member cut to the student's bytes, and unpacked to answer", task)

    def _at_width(self, width: int) -> tuple[Arm, Arm]:
        model = self.recipe.student.model.model_copy(update={"embedding_size": width})
        student = self.recipe.student.model_copy(update={"model": model})
        recipe = self.recipe
        alone = self._arm(
            f"{ALONE}, width {width}", "control", None, recipe.alone, student=student, seeds=1, width=width
        )
        distilled = self._arm(
            f"{DISTILLED}, width {width}",
            "control",
            self._own_method,
            recipe.distilled,
            labels=self.labels,
            student=student,
            seeds=1,
            width=width,
        )
        return alone, distilled

    def _arm(
        self,
        name: str,
        role: str,
        method: str | None,
        settings: Alone,
        *,
        labels: RecordLabels | None = None,
        transform: Transform = "none",
        student: Student | None = None,
        seeds: int | None = None,
        width: int | None = None,
    ) -> Arm:
        student = student or self.recipe.student
        numbers = tuple(range(seeds or self.recipe.evaluation.seeds))
        tasks = tuple(
            self.student_task(
                f"{name} {number}",
                settings,
                child_seed(self.recipe.seed, "student", number),
                labels=labels,
                transform=transform,
                student=student,
            )
            for number in numbers
        )
        return Arm(name, role, method, numbers, tasks, student, width)

    def student_task(
        self,
        name: str,
        settings: Alone,
        seed: int,
        *,
        labels: RecordLabels | None,
        transform: Transform = "none",
        student: Student | None = None,
    ) -> TrainStudent:
        """Train the recipe's student, or another, with these settings; without labels it is trained alone."""
        student = _with_dropout(student or self.recipe.student, settings)
        content = _settings(settings, student=_settings(student), seed=seed, transform=transform)
        known_by, cost = self.content_of(student.model), self._cold_cost(student.model)
        parents = (self.data, *(stage for _, stage in known_by))
        if cost is not None:
            content["cold_cost"] = cost
        items: dict[str, Any] = {"content": known_by, "cold_cost": cost}
        if labels is None:
            return TrainStudent(Stage(name, content, parents), student, settings, seed, **items)
        members = self._members_beside(labels, settings)
        if members:
            content["members"] = {name: len(stages) for name, stages in members}
        read = {stage.key: stage for stage in (labels.stage, *(stage for _, stages in members for stage in stages))}
        stage = Stage(name, content, (*parents, *read.values()))
        return TrainStudent(stage, student, settings, seed, labels.stage, transform, members=members, **items)

    def _members_beside(self, labels: RecordLabels, settings: Alone) -> Members:
        """The members' soft labels, for methods that need them; beside those of another teacher, all are its own."""
        methods = settings.distillation.methods if isinstance(settings, Distilled) else ()
        if not any("members" in method.needs for method in methods):
            return ()
        own = labels.stage.key == self.labels.stage.key
        return tuple(
            (name, tuple((task if own else labels).stage for task in tasks))
            for name, tasks in self.member_labels.items()
        )

    def tests(self, arm: Arm) -> tuple[TestModel, ...]:
        """The tests of an arm's models, one per seed."""
        metrics, from_train = self.recipe.evaluation.metrics, not self.reads_histories and not arm.knows_more
        settings = {"metrics": list(metrics), "from_train": from_train}
        words = tuple((name, task.stage) for name, task in self.words.items())
        stages = [task.stage for task in arm.trained]
        names = [arm.name if arm.knows_more else stage.name for stage in stages]
        return tuple(
            TestModel(
                Stage(f"test of {name}", settings, (self.data, stage, *(each for _, each in words))),
                stage,
                metrics,
                from_train,
                words,
            )
            for name, stage in zip(names, stages, strict=True)
        )

    @cached_property
    def tasks(self) -> tuple[Task, ...]:
        """All tasks, each after those that it depends on."""
        ordered: dict[str, Task] = {}
        for task in self.groundwork:
            ordered[task.stage.key] = task
        for task in self.words.values():
            ordered[task.stage.key] = task
        for name in self.recipe.evaluation.controls:
            if name == "self-distilled":
                own = self._arm(ALONE, "student_alone", None, self.recipe.alone).trained[0]
                ordered[own.stage.key] = own
                recorded = self._record("soft labels of the student alone", own.stage)
                ordered[recorded.stage.key] = recorded
            if name == "popularity teacher":
                recorded = self._record("soft labels of popularity", None)
                ordered[recorded.stage.key] = recorded
        for arm in self.arms:
            for task in (*arm.trained, *self.tests(arm)):
                ordered[task.stage.key] = task
        return tuple(ordered.values())


def other_arms(name: str) -> tuple[str, str]:
    """What the two arms of a further student are called: alone, and distilled."""
    return f"{name}, alone", f"{name}, distilled"


def _settings(part: Any, **more: Any) -> dict[str, Any]:
    return {**part.model_dump(mode="json"), **more}


def _with_dropout(student: Student, settings: Alone) -> Student:
    if settings.dropout is None:
        return student
    return student.model_copy(update={"model": student.model.model_copy(update={"dropout": settings.dropout})})


def _with(settings: Alone, supervision: Any) -> Alone:
    return settings.model_copy(update={"supervision": supervision})
