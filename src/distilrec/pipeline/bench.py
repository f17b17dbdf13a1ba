"""Distillation methods side by side: same teacher, same student, same tuning budget for each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from distilrec.distillation import KL, METHODS
from distilrec.errors import RecipeError
from distilrec.pipeline.run import run
from distilrec.pipeline.runner import Progress
from distilrec.pipeline.tuning import tune
from distilrec.recipe import Recipe
from distilrec.report import Report

__all__ = ["bench_methods", "with_methods"]


def bench_methods(
    recipe: Recipe,
    out: Path,
    methods: Sequence[str] | None = None,
    *,
    trials: int = 8,
    widths: Sequence[int] = (),
    jobs: int | None = None,
    progress: Progress,
) -> dict[int, Report]:
    """Tune and measure each method, the student alone and plain soft labels, and return a report per student width.

    methods: by name; None takes those that the recipe compares and every other that its record and student allow.
    trials: for each arm, on validation. widths: of the student; the recipe's own where none are given. Teacher and soft
    labels are shared by all widths. What is done already is kept, so more methods, trials or widths can be
    added later. The report of width 20 lies in out/width-20, with the tuned recipe.
    """
    compared = with_methods(recipe, methods)
    reports = {}
    for width in widths or (recipe.student.model.model_dump()["embedding_size"],):
        student = compared.with_student(embedding_size=width)
        tuned = tune(student, out, trials, jobs=jobs, progress=progress) if trials else student
        reports[width] = run(tuned, out, results=out / f"width-{width}", jobs=jobs, progress=progress)
    return reports


def with_methods(recipe: Recipe, methods: Sequence[str] | None) -> Recipe:
    """The recipe with an arm for each method: as the recipe compares it, else with the method's own defaults.

    Plain soft labels are the recipe's distilled student itself. Raises RecipeError on a name that isn't known, or a
    method that record or student don't allow.
    """
    unknown = sorted(set(methods or ()) - METHODS.keys() - recipe.compared.keys())
    if unknown:
        raise RecipeError(f"No method is called {unknown[0]!r}; there are {', '.join(sorted(METHODS))}")
    compared = {}
    for name in [*recipe.compared, *METHODS] if methods is None else methods:
        if name == KL().name:
            continue
        if name in recipe.compared:
            compared[name] = recipe.compared[name]
            continue
        mixed = recipe.distilled.distillation.model_copy(update={"alpha": 0.5, "methods": (METHODS[name](),)})
        settings = recipe.distilled.model_copy(update={"distillation": mixed})
        lacking = recipe.lacking(settings)
        if lacking is None:
            compared[name] = settings
        elif methods is not None:
            raise RecipeError(lacking)
    # A jointly trained arm isn't tuned, so it has no place beside those that are.
    return recipe.model_copy(update={"compared": compared, "joint": None})
