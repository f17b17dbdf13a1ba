"""One teacher over several domains, and a run for each domain in which it teaches."""

from __future__ import annotations

from pathlib import Path

from distilrec.data import Prepared
from distilrec.data.domains import only
from distilrec.errors import DataError, RecipeError
from distilrec.pipeline.choice import choose
from distilrec.pipeline.domains import BY_OWN, OWN
from distilrec.pipeline.plan import ALONE, DISTILLED, TEACHER
from distilrec.pipeline.prepare import plan_of
from distilrec.pipeline.run import RECIPE, report_again, run
from distilrec.pipeline.runner import Progress, end_if_imported, run_tasks
from distilrec.pipeline.stages import STAGES, writing
from distilrec.pipeline.task import Context
from distilrec.pipeline.tuning import tune
from distilrec.recipe import Recipe, read_recipe, write_recipe
from distilrec.report import Across, Domain, Report, write_across

__all__ = ["across_again", "explain_across", "run_across", "tune_across"]

SHOWN = (TEACHER, OWN, ALONE, BY_OWN, DISTILLED)


def run_across(recipe: Recipe, out: Path, *, jobs: int | None = None, progress: Progress) -> Across:
    """Train the teacher in `out`, run each domain in `out`/DOMAIN, and write domains.json and report.html in `out`.

    Each domain's folder is a run like any other, with a report and a bundle; its recipe can be run again, and tuned.
    What is done already isn't done again.
    """
    context = _teach(recipe, out, jobs, progress)
    names = _names(context.prepared)
    reports = {name: run(_of_domain(recipe, name, out), out / name, jobs=jobs, progress=progress) for name in names}
    return _written(recipe, context, reports, out)


def tune_across(
    recipe: Recipe, out: Path, trials: int, *, jobs: int | None = None, progress: Progress
) -> dict[str, Recipe]:
    """Train the teacher in `out`, and search the settings of each domain's students in `out`/DOMAIN, as `tune` does.

    Returns each domain's recipe with the best ones, which is run in `out`/DOMAIN.
    """
    context = _teach(recipe, out, jobs, progress)
    found = {}
    for name in _names(context.prepared):
        chosen = choose(_of_domain(recipe, name, out), out / name, jobs=jobs, progress=progress)
        found[name] = tune(chosen, out / name, trials, jobs=jobs, progress=progress)
    return found


def across_again(out: Path) -> Across:
    """Make the reports of a finished run over several domains again, and the page over them.

    A domain whose recipe was run again by itself, tuned perhaps, is told as it is now.
    """
    recipe = read_recipe(out / RECIPE)
    context, _ = plan_of(recipe, out, across=True)
    return _written(recipe, context, {name: report_again(out / name) for name in _names(context.prepared)}, out)


def explain_across(recipe: Recipe, out: Path) -> list[tuple[str, str]]:
    """Each stage's name, and whether it will run, and why, as far as the teacher."""
    context, plan = plan_of(recipe, out, across=True)
    stages = [(task.stage.name, context.store.why(task.stage)) for task in plan.teaching]
    return [*stages, *((f"domain {name}", "the stages to come depend on it") for name in _names(context.prepared))]


def _teach(recipe: Recipe, out: Path, jobs: int | None, progress: Progress) -> Context:
    """Leave the recipe in `out`, and train the teacher there."""
    end_if_imported()
    context, plan = plan_of(recipe, out, across=True)
    for name in _names(context.prepared):
        split = only(context.prepared, name, recipe.data.split).split
        for part in ("validation", "test"):
            if len(split.queries(part)[0]) == 0:  # better now than after hours
                raise DataError(f"domain {name!r}: the split '{recipe.data.split.kind}' leaves no {part} query there")
    write_recipe(recipe, out / RECIPE)
    run_tasks(plan.teaching, context, jobs=jobs, progress=progress)
    return context


def _names(prepared: Prepared) -> tuple[str, ...]:
    domains = prepared.dataset.domains
    if domains is None:
        raise RecipeError("data.columns.domain names no column of domains")
    if STAGES in domains.names:
        raise DataError(f"a domain can't be called {STAGES!r}, as the folder of a run's stages is; rename it")
    return domains.names


def _of_domain(recipe: Recipe, name: str, out: Path) -> Recipe:
    """The recipe of one domain. `teacher` stays: it says how the teacher of this domain alone is trained."""
    data = recipe.data.model_copy(update={"domain": name})
    return recipe.model_copy(
        update={"name": f"{recipe.name}: {name}", "data": data, "teacher_from": str(out.resolve())}
    )


def _written(recipe: Recipe, context: Context, reports: dict[str, Report], out: Path) -> Across:
    domains = [Domain.of(name, report, SHOWN, BY_OWN) for name, report in reports.items()]
    metric, users = recipe.evaluation.metrics[0], context.prepared.split.log.n_users
    found = Across(name=context.prepared.dataset.name, metric=metric, users=users, domains=domains)
    with writing(out):
        write_across(found, out)
    return found
