"""Running a recipe from data to report."""

from __future__ import annotations

import hashlib
from pathlib import Path

from distilrec.bundle import Bundle
from distilrec.data import Prepared
from distilrec.pipeline.plan import DISTILLED, Plan
from distilrec.pipeline.reporting import make_report
from distilrec.pipeline.runner import Progress, run_tasks
from distilrec.pipeline.stages import STAGES, Store
from distilrec.pipeline.tasks import Context
from distilrec.recipe import Recipe, write_recipe
from distilrec.report import Report, write

__all__ = ["explain", "plan_of", "run"]


def run(recipe: Recipe, out: Path, *, jobs: int | None = None, progress: Progress) -> Report:
    """Run what isn't done yet, write report.json, report.html, recipe.yaml and bundle/ into `out`.

    An interrupted run goes on where it stopped; a changed recipe re-runs what depends on the change.
    """
    context, plan = plan_of(recipe, out)
    write_recipe(recipe, out / "recipe.yaml")
    run_tasks(plan.tasks, context.store, recipe.data, jobs=jobs, progress=progress)
    report = make_report(plan, context)
    write(report, out)
    student = next(arm for arm in plan.arms if arm.name == DISTILLED).trained[0]
    Bundle.of(context.model(student.stage), context.prepared).save_pretrained(
        out / "bundle", precision=recipe.student.precision
    )
    return report


def explain(recipe: Recipe, out: Path) -> list[tuple[str, str]]:
    """Each stage's name, and whether it will run, and why."""
    context, plan = plan_of(recipe, out)
    return [(task.stage.name, context.store.why(task.stage)) for task in plan.tasks]


def plan_of(recipe: Recipe, out: Path) -> tuple[Context, Plan]:
    """Load the data and plan the run."""
    (out / STAGES).mkdir(parents=True, exist_ok=True)
    context = Context(Store(out), recipe.data)
    return context, Plan(recipe, _fingerprint(context.prepared))


def _fingerprint(prepared: Prepared) -> str:
    """Of the data and of how they are split."""
    digest = hashlib.sha256(prepared.dataset.fingerprint.encode())
    digest.update(prepared.split.part.tobytes())
    if prepared.negatives_split is not None:
        digest.update(prepared.negatives_split.part.tobytes())
    return digest.hexdigest()[:16]
