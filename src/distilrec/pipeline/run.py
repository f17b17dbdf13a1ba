"""Running a recipe from data to report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distilrec.bundle import ItemContent
from distilrec.data import Snapshot, final_queries, prefix_queries
from distilrec.encoders import load_encoder
from distilrec.errors import ArtefactError
from distilrec.export import card, ids_of, write_bundle
from distilrec.pipeline.choice import choose
from distilrec.pipeline.earlier import leave_for_later
from distilrec.pipeline.plan import ALONE, DISTILLED, JOINT, TEACHER, Plan
from distilrec.pipeline.prepare import plan_of
from distilrec.pipeline.reporting import make_report
from distilrec.pipeline.runner import Progress, end_if_imported, run_tasks
from distilrec.pipeline.stages import STAGES, Store, writing
from distilrec.pipeline.task import Context, Task
from distilrec.pipeline.thumbnails import thumbnails
from distilrec.recipe import Recipe, read_recipe, write_recipe
from distilrec.report import Report, write
from distilrec.runtime import Lineage
from distilrec.soft_labels import forecast

__all__ = ["explain", "forecast_labels", "report_again", "run", "run_part"]

RECIPE = "recipe.yaml"
CONTENT = "content"


def run(
    recipe: Recipe, out: Path, *, results: Path | None = None, jobs: int | None = None, progress: Progress
) -> Report:
    """Run what isn't done yet in `out`, write report.json, report.html, recipe.yaml and bundle/ there or in `results`.

    An interrupted run goes on where it stopped; a changed recipe re-runs what depends on the change. With
    `method: auto` the method is chosen first, and recipe.yaml holds the choice.
    """
    end_if_imported()
    with Store(out).alone():
        recipe = choose(recipe, out, jobs=jobs, progress=progress)
        context, plan = plan_of(recipe, out)
        results = results or out
        results.mkdir(parents=True, exist_ok=True)
        write_recipe(recipe, results / RECIPE)
        run_tasks(plan.tasks, context, jobs=jobs, progress=progress)
        report = make_report(plan, context)
        with writing(results):
            write(report, results, thumbnails(report, context.prepared.dataset))
            _ship(plan, context, report, results / "bundle")
            _leave_for_later(plan, context)
        return report


def run_part(
    recipe: Recipe, out: Path, what: str, *, jobs: int | None = None, progress: Progress
) -> dict[str, dict[str, Any]]:
    """Run the stages up to `what`, and return what each said.

    what: `content`, `teacher`, `soft labels`, `distilled student` (jointly trained ones, too), or `test`.
    """
    if what in (DISTILLED, "test"):
        recipe = choose(recipe, out, jobs=jobs, progress=progress)
    context, plan = plan_of(recipe, out, across=what in (CONTENT, TEACHER))
    main = [arm for arm in plan.arms if arm.name in (TEACHER, ALONE, DISTILLED, JOINT)]
    wanted: list[Task] = [*plan.encodings.values()] if what == CONTENT else [*plan.teaching]
    if what not in (CONTENT, TEACHER):
        wanted += plan.recordings
    if what == DISTILLED:
        wanted += [task for arm in main if arm.role == "distilled_student" for task in arm.trained]
    if what == "test":
        wanted += [task for arm in main for task in (*arm.trained, *plan.tests(arm))]
    run_tasks(wanted, context, jobs=jobs, progress=progress)
    shown = [task for task in wanted if task.stage.name.startswith((what, JOINT) if what == DISTILLED else what)]
    return {task.stage.name: context.store.result(task.stage) for task in shown}


def report_again(out: Path) -> Report:
    """Make the report of a finished run again. ArtefactError says what finishes one that isn't finished."""
    if not (out / RECIPE).is_file():
        within = sorted(str(path.parent) for path in out.glob(f"*/{RECIPE}"))
        if within:
            raise ArtefactError(f"{out}: holds several runs; report on one of them: {', '.join(within)}")
        raise ArtefactError(
            f"{out}: no run to report on, it has no {RECIPE}; run it with: distilrec run RECIPE --out {out}"
        )
    # A comparison of several widths has a report for each, and their stages one folder above.
    home = out.parent if (out.parent / STAGES).is_dir() and not (out / STAGES).is_dir() else out
    context, plan = plan_of(read_recipe(out / RECIPE), home)
    missing = [task.stage.name for task in plan.tasks if not context.store.done(task.stage)]
    if missing:
        cure = "distilrec bench, as it was begun" if home != out else f"distilrec run {out / RECIPE} --out {out}"
        raise ArtefactError(
            f"{out}: {len(missing)} stages aren't done, such as {missing[0]!r}; finish the run with: {cure}"
        )
    report = make_report(plan, context)
    write(report, out, thumbnails(report, context.prepared.dataset))
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
    """Each stage's name, and whether it will run, and why; with `method: auto`, as far as the choice."""
    context, plan = plan_of(recipe, out)
    tasks = plan.tasks if recipe.method is None else plan.groundwork
    stages = [(task.stage.name, context.store.why(task.stage)) for task in tasks]
    return stages if recipe.method is None else [*stages, ("choice of a method", "the stages to come depend on it")]


def _ship(plan: Plan, context: Context, report: Report, folder: Path) -> None:
    """Write the bundle of the first distilled student."""
    recipe, contents = plan.recipe, context.prepared.dataset.contents
    arm = report.arm("distilled_student")
    content = {
        name: ItemContent(contents[name].modality, load_encoder(context.store.folder(stage)))
        for name, stage in plan.content_of(recipe.student.model)
    }
    lineage = Lineage(
        recipe=report.recipe,
        data=report.data.fingerprint,
        teacher=plan.teacher.stage.key,
        method=arm.method,
        alpha=recipe.distilled.distillation.alpha,
        seed=arm.seeds[0],
        versions=report.environment.versions,
    )
    student = next(each for each in plan.arms if each.name == DISTILLED).trained[0]
    write_bundle(
        context.model(student.stage),
        ids_of(context.prepared),
        context.prepared.split.queries("test"),
        folder,
        content=content,
        precision=recipe.student.precision,
        lineage=lineage,
        card=card(report, lineage, new_items=bool(content)),
    )


def _leave_for_later(plan: Plan, context: Context) -> None:
    """Leave what a later run needs to go on from this one: the ids and the log, and where each stage is."""
    if not context.store.done(plan.data):
        Snapshot.of(context.prepared).save(context.store.folder(plan.data))
        context.store.finish(plan.data, {})
    leave_for_later(context.store, [plan.data, *(task.stage for task in plan.tasks)])
