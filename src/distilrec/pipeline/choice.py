"""Which methods a recipe can be distilled with, and `method: auto`, which picks one of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from distilrec.distillation import METHODS
from distilrec.errors import RecipeError
from distilrec.pipeline.plan import ALONE, DISTILLED
from distilrec.pipeline.prepare import check_since
from distilrec.pipeline.runner import Progress
from distilrec.pipeline.tuning import tune
from distilrec.recipe import Recipe

__all__ = ["choose", "with_methods"]

# What `method: auto` tries where it isn't told: those that came nearest to plain soft labels, or went beyond, in
# docs/benchmark.md.
SHORT_LIST = ("expected_recall", "rce_kd", "ir_rrd", "rank_distil", "rrd")


def choose(recipe: Recipe, out: Path, *, jobs: int | None = None, progress: Progress) -> Recipe:
    """The recipe with the method that `method: auto` picks; as it is where it names no such choice.

    Tried are the recipe's own way, what it compares, and the methods that it names or a short list of those that fit.
    Each gets as many trials as the others, and the student alone as many as all of them together. The best on
    validation becomes the distilled student; `tried` says how the others did. Trials are kept in `out`, so that another
    call picks the same and trains nothing.
    """
    if recipe.method is None:
        return recipe
    check_since(recipe)
    names = recipe.method.among
    if names is None:
        names = tuple(name for name in SHORT_LIST if recipe.unfit(recipe.taught_by(name)) is None)
    searched, trials = with_methods(recipe, [*recipe.compared, *names]), recipe.method.trials
    arms = {recipe.own_method: DISTILLED} | {name: name for name in searched.compared}
    tuned = tune(searched, out, trials, alone=trials * len(arms), jobs=jobs, progress=progress)
    tried = {name: tuned.tuned[arm].model_copy(update={"trials": trials}) for name, arm in arms.items()}
    tried = dict(sorted(tried.items(), key=lambda pair: -pair[1].validation))
    best = arms[next(iter(tried))]
    # What the recipe compares stays in the report; what was only tried doesn't.
    compared = {name: tuned.compared[name] for name in recipe.compared if name != best}
    return recipe.model_copy(
        update={
            "method": None,
            "alone": tuned.alone,
            "distilled": tuned.distilled if best == DISTILLED else tuned.compared[best],
            "compared": compared,
            "tuned": {arm: tuned.tuned[arm] for arm in (ALONE, *compared)} | {DISTILLED: tuned.tuned[best]},
            "tried": tried,
        }
    )


def with_methods(recipe: Recipe, methods: Sequence[str] | None) -> Recipe:
    """The recipe with an arm for each method: as the recipe compares it, else with the method's own defaults.

    methods: by name; None takes what the recipe compares, and every other method that its record and student allow.
    The recipe's own way is its distilled student, and so no arm. Raises RecipeError on a name that isn't known, or a
    method that record or student don't allow.
    """
    if methods is None:
        fitting = [name for name in METHODS if recipe.lacking(recipe.taught_by(name)) is None]
        methods = [*recipe.compared, *fitting]
    arms = {name: recipe.taught_by(name) for name in methods if name != recipe.own_method}
    for settings in arms.values():
        lacking = recipe.lacking(settings)
        if lacking is not None:
            raise RecipeError(lacking)
    # A jointly trained arm isn't tuned, so it has no place beside those that are.
    return recipe.model_copy(update={"compared": arms, "joint": None, "method": None})
