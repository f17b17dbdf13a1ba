"""From a recipe to the tasks of a run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from distilrec.distillation.methods import KL
from distilrec.models import (
    ModelConfig,
    PopularityConfig,
    RandomConfig,
    SequenceConfig,
    reads_histories,
)
from distilrec.pipeline.content_tasks import (
    Ablation,
    FitClosedForm,
    FitHybrid,
    PlaceByRidge,
    TuneContentKNN,
)
from distilrec.pipeline.controls import Factorise, Truncate
from distilrec.pipeline.groundwork import TEACHER, Groundwork, settings_of
from distilrec.pipeline.sources import ablations, asked_for
from distilrec.pipeline.stages import Stage
from distilrec.pipeline.task import Task
from distilrec.pipeline.tasks import (
    Members,
    RecordLabels,
    TestModel,
    TrainJointly,
    TrainStudent,
    Transform,
)
from distilrec.recipe import Alone, Distilled, Student
from distilrec.rng import child_seed

__all__ = ["ALONE", "DISTILLED", "HYBRID", "JOINT", "TEACHER", "Arm", "Plan", "other_arms"]

INFORMED = "teacher, given validation items too"
ALONE, DISTILLED, JOINT = "student alone", "distilled student", "jointly trained student"
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
class Plan(Groundwork):
    """All tasks of a run."""

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
            kept = ", ".join(source for source in asked_for(content) if source not in withheld)
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
        settings = {"members": {name: settings_of(each) for name, each in blend.members.items()}}
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
        cost = self._cold_cost(student.model)
        for number in numbers:
            seed = child_seed(recipe.seed, "student", number)
            content = settings_of(settings, student=settings_of(student), teacher=settings_of(member.model), seed=seed)
            if cost is not None:
                content["cold_cost"] = cost
            read = {name: stage for model in (member.model, student.model) for name, stage in self.content_of(model)}
            stage = Stage(f"{JOINT} {number}", content, (self.data, *read.values()))
            tasks.append(TrainJointly(stage, student, member, settings, seed, tuple(read.items()), cost))
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
                method = "the teacher, from content to its items for those that it doesn't know"
                task = PlaceByRidge(stage, member, content, cost)
                return Arm(name, "teacher", method, (self.recipe.seed,), (task,), None)  # it is as large as the teacher
            case "popularity" | "random":
                return self._closed_form(name, PopularityConfig() if name == "popularity" else RandomConfig())
            case _:
                return self._truncated(name)

    def _closed_form(self, name: str, config: ModelConfig) -> Arm:
        """A model beside the student, fitted to the same data."""
        return self._single(name, None, FitClosedForm(Stage(name, settings_of(config), (self.data,)), config))

    def _single(self, name: str, method: str | None, task: Task) -> Arm:
        """A control that is no student, and is made once."""
        return Arm(name, "control", method, (self.recipe.seed,), (task,), None)

    def _truncated(self, name: str) -> Arm:
        if self.reads_histories:
            like = self._arm(DISTILLED, "distilled_student", None, self.recipe.distilled, labels=self.labels)
            stages = tuple(member.stage for member in self.members)
            task = Truncate(Stage(name, {}, (*stages, like.trained[0].stage)), stages, like.trained[0].stage)
            return self._single(name, "teacher's member cut to the student's bytes, and unpacked to answer", task)
        seed, student = self.recipe.seed, self.recipe.student
        stage = Stage(name, settings_of(student, seed=seed), (self.data, self.teacher.stage))
        method = "the teacher's final scores, factorised to the student's size without training"
        return Arm(name, "control", method, (seed,), (Factorise(stage, self.teacher.stage, student, seed),), student)

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
        content = settings_of(settings, student=settings_of(student), seed=seed, transform=transform)
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


def _with_dropout(student: Student, settings: Alone) -> Student:
    if settings.dropout is None:
        return student
    return student.model_copy(update={"model": student.model.model_copy(update={"dropout": settings.dropout})})


def _with(settings: Alone, supervision: Any) -> Alone:
    return settings.model_copy(update={"supervision": supervision})
