"""Running a recipe from data to report."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from distilrec.bundle import Bundle
from distilrec.data import Prepared, Snapshot, final_queries, prefix_queries
from distilrec.errors import ArtefactError, DataError
from distilrec.pipeline.earlier import Earlier, leave_for_later
from distilrec.pipeline.plan import ALONE, DISTILLED, JOINT, TEACHER, Plan
from distilrec.pipeline.refresh import RefreshPlan
from distilrec.pipeline.reporting import make_report
from distilrec.pipeline.runner import Progress, run_tasks
from distilrec.pipeline.stages import STAGES, Store
from distilrec.pipeline.task import Context, Task
from distilrec.recipe import Recipe, read_recipe, write_recipe
from distilrec.report import Report, write
from distilrec.soft_labels import forecast

__all__ = ["explain", "forecast_labels", "plan_of", "report_again", "run", "run_part"]


def run(
    recipe: Recipe, out: Path, *, results: Path | None = None, jobs: int | None = None, progress: Progress
) -> Report:
    """Run what isn't done yet in `out`, write report.json, report.html, recipe.yaml and bundle/ there or in `results`.

    An interrupted run goes on where it stopped; a changed recipe re-runs what depends on the change.
    """
    context, plan = plan_of(recipe, out)
    results = results or out
    results.mkdir(parents=True, exist_ok=True)
    write_recipe(recipe, results / "recipe.yaml")
    run_tasks(plan.tasks, context, jobs=jobs, progress=progress)
    report = make_report(plan, context)
    write(report, results)
    student = next(arm for arm in plan.arms if arm.name == DISTILLED).trained[0]
    Bundle.of(context.model(student.stage), context.prepared).save_pretrained(
        results / "bundle", precision=recipe.student.precision
    )
    _leave_for_later(plan, context)
    return report


def run_part(
    recipe: Recipe, out: Path, what: str, *, jobs: int | None = None, progress: Progress
) -> dict[str, dict[str, Any]]:
    """Run the stages up to `what`, and return what each said.

    what: `teacher`, `soft labels`, `distilled student` (jointly trained ones, too), or `test` (of the main arms).
    """
    context, plan = plan_of(recipe, out)
    main = [arm for arm in plan.arms if arm.name in (TEACHER, ALONE, DISTILLED, JOINT)]
    wanted: list[Task] = [*plan.members, plan.teacher]
    if what != TEACHER:
        wanted += plan.recordings
    if what == DISTILLED:
        wanted += [task for arm in main if arm.role == "distilled_student" for task in arm.trained]
    if what == "test":
        wanted += [task for arm in main for task in (*arm.trained, *plan.tests(arm))]
    run_tasks(wanted, context, jobs=jobs, progress=progress)
    shown = [task for task in wanted if task.stage.name.startswith((what, JOINT) if what == DISTILLED else what)]
    return {task.stage.name: context.store.result(task.stage) for task in shown}


def report_again(out: Path) -> Report:
    """Make the report of a finished run again. Raises ArtefactError where stages are missing."""
    # A comparison of several widths has a report for each, and their stages one folder above.
    home = out if (out / STAGES).is_dir() else out.parent
    context, plan = plan_of(read_recipe(out / "recipe.yaml"), home)
    missing = [task.stage.name for task in plan.tasks if not context.store.done(task.stage)]
    if missing:
        raise ArtefactError(f"{out}: {len(missing)} stages aren't done, such as {missing[0]!r}; run the recipe again")
    report = make_report(plan, context)
    write(report, out)
    return report


def forecast_labels(recipe: Recipe, out: Path) -> dict[str, int]:
    """How many queries will be recorded, and in how many bytes, those of the members included."""
    context, plan = plan_of(recipe, out)
    train, length = context.prepared.split.train, plan.labels.history_length
    n_queries = len((final_queries(train) if length is None else prefix_queries(train, length))[1])
    widths = {member.name: getattr(member.model, "embedding_size", None) for member in recipe.teacher}
    recorded = [next(iter(widths.values())) if len(widths) == 1 else None]
    recorded += [widths[name] for name, tasks in plan.member_labels.items() for _ in tasks]
    settings = recipe.record.settings()
    return {
        "queries": n_queries,
        "bytes": sum(forecast(settings, n_queries, train.n_items, width) for width in recorded),
    }


def explain(recipe: Recipe, out: Path) -> list[tuple[str, str]]:
    """Each stage's name, and whether it will run, and why."""
    context, plan = plan_of(recipe, out)
    return [(task.stage.name, context.store.why(task.stage)) for task in plan.tasks]


def plan_of(recipe: Recipe, out: Path) -> tuple[Context, Plan]:
    """Load the data and plan the run."""
    (out / STAGES).mkdir(parents=True, exist_ok=True)
    since = None if recipe.since is None else Path(recipe.since)
    context = Context(Store(out), recipe.data, since)
    for part in ("validation", "test"):
        if len(context.prepared.split.queries(part)[0]) == 0:
            raise DataError(
                f"{recipe.data.source}: the split '{recipe.data.split.kind}' leaves no {part} query; choose another "
                "kind of split, or other moments for global-time (leave-last-out needs users with three interactions)"
            )
    fingerprint = _fingerprint(context.prepared)
    return context, Plan(recipe, fingerprint) if since is None else RefreshPlan.of(recipe, fingerprint, Earlier(since))


def _leave_for_later(plan: Plan, context: Context) -> None:
    """Leave what a later run needs to go on from this one: the ids and the log, and where each stage is."""
    if not context.store.done(plan.data):
        Snapshot.of(context.prepared).save(context.store.folder(plan.data))
        context.store.finish(plan.data, {})
    leave_for_later(context.store, [plan.data, *(task.stage for task in plan.tasks)])


def _fingerprint(prepared: Prepared) -> str:
    """Of the data and of how they are split."""
    digest = hashlib.sha256(prepared.dataset.fingerprint.encode())
    digest.update(prepared.split.part.tobytes())
    if prepared.negatives_split is not None:
        digest.update(prepared.negatives_split.part.tobytes())
    if prepared.earlier is not None:
        digest.update(prepared.earlier.tobytes())
    return digest.hexdigest()[:16]
