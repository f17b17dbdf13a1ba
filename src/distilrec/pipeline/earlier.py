"""A finished run, as a later one finds it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from distilrec.errors import ArtefactError, RecipeError
from distilrec.models import LightGCNConfig
from distilrec.pipeline.stages import STAGES, Stage, Store
from distilrec.recipe import Recipe, read_recipe
from distilrec.report import Report

__all__ = ["Earlier", "leave_for_later"]

RUN = "run.json"


def leave_for_later(store: Store, stages: Sequence[Stage]) -> None:
    """Write run.json: which folder holds which stage of the run that has just been finished."""
    content = {"format": 1, "stages": {stage.name: store.folder(stage).name for stage in stages}}
    partial = store.run / f"{RUN}.partial"
    partial.write_text(json.dumps(content, indent=1), encoding="utf-8")
    os.replace(partial, store.run / RUN)


@dataclass(frozen=True)
class Earlier:
    """The run in `folder`. Its files are read as they are needed; ArtefactError says which one is missing."""

    folder: Path

    def path(self, name: str) -> Path:
        """The folder of a stage."""
        if name not in self._stages:
            raise ArtefactError(f"{self.folder}: the run has no stage {name!r}, which a later run goes on from")
        return self.folder / STAGES / self._stages[name]

    def stage(self, name: str) -> Stage:
        """A stand-in for a stage, for others to depend on."""
        return Stage(f"earlier {name}", {"folder": self.path(name).name})

    @cached_property
    def report(self) -> Report:
        """What the run reported."""
        return Report.from_json((self.folder / "report.json").read_bytes())

    def check(self, recipe: Recipe) -> None:
        """Refuse a recipe that this run can't be gone on from."""
        known = read_recipe(self.folder / "recipe.yaml")
        if (recipe.teacher, recipe.weighing) != (known.teacher, known.weighing):
            raise RecipeError(
                f"since: the recipe's teacher isn't that of {self.folder}, and a teacher is taken over as it is; keep "
                "its settings, weighing among them, or run without `since` to train the new one"
            )
        if isinstance(recipe.student.model, LightGCNConfig):
            raise RecipeError(
                "since: a lightgcn doesn't save all that it trains, so it can't go on; take history_encoder, sasrec or "
                "matrix_factorization"
            )
        for name, given, was in (
            ("student.model", recipe.student.model, known.student.model),
            ("record", recipe.record, known.record),
        ):
            if given != was:
                raise RecipeError(
                    f"since: the recipe's {name} isn't that of {self.folder}, whose students and soft labels go on; "
                    "keep its settings, or run without `since`"
                )
        seeds = sum(name.startswith("distilled student ") for name in self._stages)
        if recipe.evaluation.seeds > seeds:
            raise RecipeError(
                f"since: evaluation.seeds is {recipe.evaluation.seeds}, but {self.folder} has students of {seeds}; "
                "lower it, or run without `since`"
            )
        if recipe.evaluation.metrics[0] != self.report.metric:
            raise RecipeError(
                f"since: the first metric is {recipe.evaluation.metrics[0]}, and that of {self.folder} was "
                f"{self.report.metric}; keep it, so that they can be compared"
            )

    @cached_property
    def _stages(self) -> dict[str, str]:
        path = self.folder / RUN
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["format"] != 1:
                raise ValueError(f"format {content['format']}")
            return {str(name): Path(folder).name for name, folder in content["stages"].items()}
        except FileNotFoundError as error:
            raise ArtefactError(
                f"{self.folder}: no finished run to go on from, it has no {RUN}; finish it with: distilrec run"
            ) from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArtefactError(f"{path}: damaged ({error}); finish the run again with: distilrec run") from error
