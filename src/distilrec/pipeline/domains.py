"""One domain of several: its students learn from a teacher that was trained on all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from distilrec.data import taken_elsewhere
from distilrec.errors import ArtefactError
from distilrec.models import DomainView, load_model
from distilrec.pipeline.plan import TEACHER, Arm, Plan
from distilrec.pipeline.stages import Stage, Store
from distilrec.pipeline.task import Context, Task
from distilrec.pipeline.tasks import FitMember, RecordLabels, WeighTeacher, saved
from distilrec.recipe import Recipe

__all__ = ["BY_OWN", "OWN", "DomainPlan"]

OWN, BY_OWN = "single-domain teacher", "taught by single-domain teacher"
SHARED = "all domains"


@dataclass(frozen=True)
class TakeDomain(Task):
    """The teacher of all domains, asked about this one. home, source: the run that trained it, and the stage."""

    home: Path
    source: Stage

    def execute(self, context: Context, on_progress: Callable[[int, int, str], None]) -> Mapping[str, Any]:
        """Save it with what it needs to be asked; size and cost are those of the teacher itself."""
        store, places = Store(self.home), context.prepared.places
        assert places is not None  # data of one domain know where it is
        model, known = load_model(store.folder(self.source)), store.result(self.source)
        view = DomainView(model, places.users, places.items, taken_elsewhere(context.prepared))
        kept = saved(view, context.store.folder(self.stage))
        return kept | {name: value for name, value in known.items() if name in kept}


@dataclass(frozen=True)
class DomainPlan(Plan):
    """Plan a run of one domain. whole: of all domains, of which only the teacher is run. home: that run's folder.

    The teacher is that of all domains, weighed on this one's validation beside the same members trained on this domain
    alone: where others have nothing to tell, it is left out. Beside the arms of any run there are a teacher of the
    latter members only, and a student taught by that: what they lack is what other domains brought, and where they are
    better, the transfer did harm.
    """

    whole: Plan = field(kw_only=True)
    home: Path = field(kw_only=True)

    @classmethod
    def of(cls, recipe: Recipe, fingerprint: str, contents: Mapping[str, str], whole: Plan, home: Path) -> DomainPlan:
        """Check that the teacher is there, and plan."""
        if not Store(home).done(whole.teacher.stage):
            raise ArtefactError(
                f"teacher_from: {home} has no finished teacher of these data and settings; run the recipe of all "
                f"domains first, with --out {home}"
            )
        return cls(recipe, fingerprint, contents, whole=whole, home=home)

    @cached_property
    def members(self) -> tuple[FitMember, ...]:
        """None: the teacher is taken over as a whole."""
        return ()

    @cached_property
    def shared(self) -> TakeDomain:
        """The teacher of all domains."""
        source = self.whole.teacher.stage
        return TakeDomain(Stage(SHARED, {}, (self.data, source)), self.home, source)

    @cached_property
    def teacher(self) -> WeighTeacher:
        """It, beside the members of this domain alone."""
        return self._weighed(TEACHER, (self.shared, *self.own_members))

    @property
    def teaching(self) -> tuple[Task, ...]:
        """All that makes the teacher."""
        return (*self.encodings.values(), self.shared, *self.own_members, self.teacher)

    @property
    def teacher_names(self) -> tuple[str, ...]:
        """In the order of their weights."""
        return (SHARED, *super().teacher_names)

    @cached_property
    def own_members(self) -> tuple[FitMember, ...]:
        """Those of the same teacher, trained on this domain alone."""
        return Plan(self.recipe, self.fingerprint, self.contents).members

    @cached_property
    def own_teacher(self) -> WeighTeacher:
        """The same teacher, trained on this domain alone."""
        return self._weighed(OWN, self.own_members)

    @cached_property
    def own_labels(self) -> RecordLabels:
        """Its soft labels."""
        return self._record(f"soft labels of {OWN}", self.own_teacher.stage)

    @cached_property
    def arms(self) -> tuple[Arm, ...]:
        """Those of any run, and the two of the teacher of this domain alone."""
        recipe = self.recipe
        method = "the same teacher, trained on this domain alone"
        own = Arm(OWN, "teacher", method, (recipe.seed,), (self.own_teacher,), None)
        taught = self._arm(BY_OWN, "distilled_student", self._own_method, recipe.distilled, labels=self.own_labels)
        return (*super().arms, own, taught)

    @property
    def groundwork(self) -> tuple[Task, ...]:
        """All that students learn from."""
        return (*super().groundwork, self.own_teacher, self.own_labels)
