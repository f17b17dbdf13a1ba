"""Which methods a recipe can be distilled with, and `method: auto`, which picks one of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from distilrec.distillation import METHODS
from distilrec.errors import RecipeError
from distilrec.pipeline.plan import ALONE, DISTILLED
from distilrec.pipeline.runner import Progress
from distilrec.pipeline.tuning import tune
from distilrec.recipe import Distilled, Recipe

__all__ = ["choose", "own_method", "with_methods"]

# Of those with the best places in docs/benchmark.md, one of each kind.
SHORT_LIST = ("rrd", "dcd", "unkd", "rce_kd", "rank_distil", "de")


def choose(recipe: Recipe, out: Path, *, jobs: int | None = None, progress: Progress) -> Recipe:
    """The recipe with the method that `method: auto` picks; as it is where it names no such choice.

    Each way gets as many trials as the others, the recipe's own way among them, and the student alone as many as all
    ways together. The best on validation becomes the distilled student; `tried` says how the others did. Trials are
    kept in `out`, so that another call picks the same and trains nothing.
    """
    if recipe.method is None:
        return recipe
    if recipe.since is not None:
        raise RecipeError(
            "method: auto begins anew, and a run with since goes on with earlier students; "
            f"take the recipe with their method, {recipe.since}/recipe.yaml, as it stands there"
        )
    names = _fitting(recipe, SHORT_LIST) if recipe.method.among is None else recipe.method.among
    searched, trials = with_methods(recipe, names), recipe.method.trials
    arms = {own_method(recipe): DISTILLED} | {name: name for name in searched.compared}
    tuned = tune(searched, out, trials, alone=trials * len(arms), jobs=jobs, progress=progress)
    tried = {name: tuned.tuned[arm] for name, arm in arms.items()}
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


def own_method(recipe: Recipe) -> str:
    """What the recipe's distilled student learns by, as a name: `kl`, or several with a plus between them."""
    return "+".join(method.name for method in recipe.distilled.distillation.methods)


def with_methods(recipe: Recipe, methods: Sequence[str] | None) -> Recipe:
    """The recipe with an arm for each method: as the recipe compares it, else with the method's own defaults.

    methods: by name; None takes what the recipe compares, and every other method that its record and student allow.
    The recipe's own way is its distilled student, and so no arm. Raises RecipeError on a name that isn't known, or a
    method that record or student don't allow.
    """
    unknown = sorted(set(methods or ()) - METHODS.keys() - recipe.compared.keys())
    if unknown:
        raise RecipeError(f"No method is called {unknown[0]!r}; there are {', '.join(sorted(METHODS))}")
    names = [*recipe.compared, *_fitting(recipe, METHODS)] if methods is None else methods
    arms = {name: recipe.compared.get(name) or _by(name, recipe) for name in names if name != own_method(recipe)}
    for settings in arms.values():
        lacking = recipe.lacking(settings)
        if lacking is not None:
            raise RecipeError(lacking)
    # A jointly trained arm isn't tuned, so it has no place beside those that are.
    return recipe.model_copy(update={"compared": arms, "joint": None, "method": None})


def _fitting(recipe: Recipe, names: Iterable[str]) -> list[str]:
    """The methods that record and student allow."""
    return [name for name in names if recipe.lacking(_by(name, recipe)) is None]


def _by(name: str, recipe: Recipe) -> Distilled:
    """The recipe's distilled student, taught by this method beside the true labels."""
    mixed = recipe.distilled.distillation.model_copy(update={"alpha": 0.5, "methods": (METHODS[name](),)})
    return recipe.distilled.model_copy(update={"distillation": mixed})
