"""Distillation methods side by side: same teacher, same student, same tuning budget for each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from distilrec.distillation import KL
from distilrec.pipeline.choice import with_methods
from distilrec.pipeline.run import run
from distilrec.pipeline.runner import Progress
from distilrec.pipeline.tuning import tune
from distilrec.recipe import Recipe
from distilrec.report import Report, leaderboard, leaderboard_picture, leaderboard_title
from distilrec.report.html import write_text

__all__ = ["bench_methods"]


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
    added later. The report of width 20 lies in out/width-20, with the tuned recipe and leaderboard.svg.
    """
    compared = with_methods(_by_soft_labels(recipe), methods)
    reports = {}
    for width in widths or (recipe.student.model.model_dump()["embedding_size"],):
        student = compared.with_student(embedding_size=width)
        tuned = tune(student, out, trials, jobs=jobs, progress=progress) if trials else student
        folder = out / f"width-{width}"
        report = reports[width] = run(tuned, out, results=folder, jobs=jobs, progress=progress)
        title = leaderboard_title(recipe.name, f"width {width}", report.metric)
        write_text(folder / "leaderboard.svg", leaderboard_picture(title, leaderboard(report)))
    return reports


def _by_soft_labels(recipe: Recipe) -> Recipe:
    """The recipe with plain soft labels as its distilled student; a way of its own stands among what is compared."""
    own, plain = recipe.own_method, KL().name
    if own == plain:
        return recipe
    compared = {own: recipe.distilled} | {name: arm for name, arm in recipe.compared.items() if name != plain}
    return recipe.model_copy(update={"distilled": recipe.taught_by(plain), "compared": compared})
