"""From a recipe and a folder to the data and the plan."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from distilrec.data import Prepared
from distilrec.errors import DataError, RecipeError
from distilrec.pipeline.domains import DomainPlan
from distilrec.pipeline.earlier import Earlier
from distilrec.pipeline.plan import Plan
from distilrec.pipeline.refresh import RefreshPlan
from distilrec.pipeline.stages import Store
from distilrec.pipeline.task import Context, fingerprint_of
from distilrec.recipe import Recipe

__all__ = ["check_since", "plan_of"]


def plan_of(recipe: Recipe, out: Path, *, across: bool = False) -> tuple[Context, Plan]:
    """Load the data and plan the run. across: of a recipe of several domains, for what all have in common.

    Raises RecipeError on such a recipe otherwise.
    """
    if recipe.crosses_domains and not across:
        raise RecipeError(
            "The recipe is of several domains, and this is for one domain: take the recipe that distilrec run leaves "
            "in OUT/DOMAIN, or name a domain in data.domain"
        )
    check_since(recipe)
    since = None if recipe.since is None else Path(recipe.since)
    if since is not None and since.resolve() == out.resolve():
        raise RecipeError(f"since: {out} is the run to go on from, and would be overwritten; name another --out")
    context = Context(Store(out), recipe.data, since)
    context.store.make()
    if len(context.prepared.split.train) == 0:
        raise DataError(
            f"{recipe.data.source}: the split '{recipe.data.split.kind}' leaves nothing to train on; choose another "
            "kind of split, or later moments for global-time"
        )
    for part in ("validation", "test"):
        if len(context.prepared.split.queries(part)[0]) == 0:
            raise DataError(
                f"{recipe.data.source}: the split '{recipe.data.split.kind}' leaves no {part} query; choose another "
                "kind of split, or other moments for global-time (leave-last-out needs users with three interactions)"
            )
    _check_lists(recipe, context.prepared.split.train.n_items)
    fingerprint = fingerprint_of(context.prepared)
    contents = _contents(context.prepared)
    if since is not None:
        return context, RefreshPlan.of(recipe, fingerprint, contents, Earlier(since))
    if recipe.teacher_from is not None:
        return context, _plan_of_domain(recipe, context.prepared, fingerprint, contents)
    return context, Plan(recipe, fingerprint, contents)


def _check_lists(recipe: Recipe, n_items: int) -> None:
    """Raise RecipeError where lists hold the whole catalogue, and a method learns from what they leave out."""
    if recipe.record.kind == "full" or recipe.record.k < n_items:
        return
    arms = (recipe.distilled, *recipe.compared.values())
    for method in (method for settings in arms for method in settings.distillation.methods):
        if "others" in method.needs:
            raise RecipeError(
                f"the method {method.name!r} needs items that the teacher didn't list, and lists of record.k "
                f"({recipe.record.k}) hold all {n_items} items; lower record.k"
            )


def _plan_of_domain(recipe: Recipe, prepared: Prepared, fingerprint: str, contents: Mapping[str, str]) -> DomainPlan:
    assert prepared.whole is not None  # the recipe has seen that it is one domain of several
    assert recipe.teacher_from is not None
    data = recipe.data.model_copy(update={"domain": None})
    every = recipe.model_copy(update={"data": data, "teacher_from": None})
    whole = Plan(every, fingerprint_of(prepared.whole), _contents(prepared.whole))
    return DomainPlan.of(recipe, fingerprint, contents, whole, Path(recipe.teacher_from))


def _contents(prepared: Prepared) -> dict[str, str]:
    """Fingerprints of the items' content, by modality."""
    return {name: found.fingerprint for name, found in prepared.dataset.contents.items()}


def check_since(recipe: Recipe) -> None:
    """Raise RecipeError where a run that goes on from an earlier one is of a domain, holds out users or items, or is to
    choose its method anew."""
    columns = recipe.data.columns
    if recipe.since is not None and (recipe.data.domain or (columns is not None and columns.domain)):
        raise RecipeError("since: a run of one domain of several isn't continued; run the recipe anew")
    if recipe.since is not None and recipe.data.split.kind in ("cold-users", "cold-items"):
        raise RecipeError(
            f"since: a run that holds out users or items ({recipe.data.split.kind}) isn't continued, since others "
            "would be held out today; run the recipe anew"
        )
    if recipe.since is not None and recipe.method is not None:
        raise RecipeError(
            "method: auto begins anew, and a run with since goes on with earlier students; "
            f"take the recipe with their method, {recipe.since}/recipe.yaml, as it stands there"
        )
