"""Commands that run a recipe, in whole or in part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from distilrec.cli.app import Json, app
from distilrec.cli.output import show, show_table
from distilrec.cli.progress import Display
from distilrec.errors import RecipeError, require

RecipePath = Annotated[Path, typer.Argument(help="A recipe: recipes/*.yaml, or what `distilrec init` wrote.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="The run's folder; a run that is there already goes on.")]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs", "-j", min=1, help="Processes at once, one thread each or OMP_NUM_THREADS; default: one per core."
    ),
]


@app.command("run")
def run_command(
    recipe: RecipePath,
    out: Out,
    since: Annotated[
        Path | None,
        typer.Option("--since", help="A finished run to go on from: its teacher is kept, its students trained on."),
    ] = None,
    jobs: Jobs = None,
    explain: Annotated[bool, typer.Option("--explain", help="Only say which stages will run, and why.")] = False,
    keep: Annotated[
        float | None,
        typer.Option("--keep", min=0.0, help="Find the smallest student that keeps this share of NDCG@10, as 0.98."),
    ] = None,
    max_bytes: Annotated[
        str | None, typer.Option("--max-bytes", help="... in at most so many bytes, such as 500k or 2M.")
    ] = None,
    max_ms: Annotated[
        float | None, typer.Option("--max-ms", min=0.0, help="... with at most so many milliseconds per query (p50).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run all stages: teach, record soft labels, distil, evaluate; write OUT/report.html and OUT/report.json.

    Stages that are done are kept; a changed setting re-runs only what depends on it. With --keep, --max-bytes or
    --max-ms, students of several widths and precisions are tried on validation, and the smallest that satisfies all
    is run. With --since, only what is new since that run is recorded, its students are trained on, and drift is
    reported; the recipe's data are today's whole log. Where data.columns names a domain, one teacher is trained over
    all domains, and each is a run of its own in OUT/DOMAIN.

    Examples: distilrec run recipes/quickstart.yaml --out runs/quickstart;
    distilrec run recipe.yaml --out runs/tuesday --since runs/monday
    """
    require("torch", "train", "distilrec run")
    from distilrec.pipeline import Limits, explain_across, find_smallest, run, run_across
    from distilrec.pipeline import explain as explained
    from distilrec.recipe import read_recipe

    content = read_recipe(recipe)
    limited = keep is not None or max_bytes is not None or max_ms is not None
    limits = Limits(keep, None if max_bytes is None else parse_bytes(max_bytes), max_ms)
    if explain and limited:
        raise RecipeError("--explain can't foresee a search: leave it out, or --keep and the other limits")
    if since is not None:
        if limited:
            raise RecipeError("--since trains the earlier run's student on, so it can't go with --keep or other limits")
        content = content.model_copy(update={"since": str(since.resolve())})
    if explain:
        _show_plan((explain_across if content.crosses_domains else explained)(content, out), as_json)
        return
    if content.crosses_domains:
        if limited or content.since is not None:
            raise RecipeError(
                "--keep and other limits are for one domain: give them the recipe in OUT/DOMAIN; --since is for none"
            )
        with Display() as display:
            found = run_across(content, out, jobs=jobs, progress=display)
        _show_across(found, out, as_json)
        return
    with Display() as display:
        if limited:
            content = find_smallest(content, out, limits, jobs=jobs, progress=display)
        report = run(content, out, jobs=jobs, progress=display)
    _show_report(report, out, as_json)


@app.command()
def encode(recipe: RecipePath, out: Out, jobs: Jobs = None, as_json: Json = False) -> None:
    """Make vectors of the items' text, images and sound that a recipe's models read; what is cached isn't made again.

    Example: distilrec encode recipes/multimodal.yaml --out runs/multimodal
    """
    _some(recipe, out, jobs, "content", as_json)


@app.command()
def teach(recipe: RecipePath, out: Out, jobs: Jobs = None, as_json: Json = False) -> None:
    """Stage 1 alone: train the teacher's members and weigh them on validation."""
    _some(recipe, out, jobs, "teacher", as_json)


@app.command()
def record(
    recipe: Annotated[Path, typer.Argument(help="A recipe; with --inspect, a folder of recorded soft labels.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The run's folder.")] = None,
    inspect: Annotated[bool, typer.Option("--inspect", help="Check a recorded folder and say what it holds.")] = False,
    forecast: Annotated[bool, typer.Option("--forecast", help="Only say how large the recording will be.")] = False,
    jobs: Jobs = None,
    as_json: Json = False,
) -> None:
    """Stages 1 and 2: record the teacher's soft labels to disk, once; an interrupted recording goes on.

    Examples: distilrec record recipes/quickstart.yaml --out runs/quickstart;
    distilrec record --inspect "runs/quickstart/stages/soft-labels-0123456789ab/labels"
    """
    require("torch", "train", "distilrec record")
    if inspect:
        from distilrec.soft_labels import SoftLabels

        labels = SoftLabels.open(recipe)
        labels.verify()
        show({**labels.summary(), "checksums": "all files are as they were written"}, as_json)
        return
    if out is None:
        raise RecipeError("record: --out is missing; it names the run's folder, such as --out runs/mine")
    if forecast:
        from distilrec.pipeline import forecast_labels
        from distilrec.recipe import read_recipe

        show(forecast_labels(read_recipe(recipe), out), as_json)
        return
    _some(recipe, out, jobs, "soft labels", as_json)


@app.command()
def distill(recipe: RecipePath, out: Out, jobs: Jobs = None, as_json: Json = False) -> None:
    """Stages 1 to 3: train the distilled student, and what it needs where that isn't done yet."""
    _some(recipe, out, jobs, "distilled student", as_json)


@app.command()
def evaluate(recipe: RecipePath, out: Out, jobs: Jobs = None, as_json: Json = False) -> None:
    """Stages 1 to 4 for teacher, student alone and distilled student, without controls; prints the test metrics."""
    _some(recipe, out, jobs, "test", as_json)


@app.command()
def report(run_folder: Annotated[Path, typer.Argument(help="A finished run.")], as_json: Json = False) -> None:
    """Write a finished run's report.json and report.html again."""
    require("torch", "train", "distilrec report")
    from distilrec.pipeline import across_again, report_again
    from distilrec.recipe import read_recipe

    recipe = run_folder / "recipe.yaml"
    if recipe.is_file() and read_recipe(recipe).crosses_domains:
        _show_across(across_again(run_folder), run_folder, as_json)
    else:
        _show_report(report_again(run_folder), run_folder, as_json)


@app.command()
def tune(
    recipe: RecipePath,
    out: Out,
    trials: Annotated[int, typer.Option("--trials", "-n", min=1, help="Trials for each arm.")] = 20,
    jobs: Jobs = None,
    as_json: Json = False,
) -> None:
    """Search the settings of the student alone and of each way to distil it, with the same number of trials for all.

    Only validation quality counts. Trials are kept in OUT/tuning.db, and an interrupted search goes on. The recipe with
    the chosen settings is written to OUT/tuned.yaml; look at it and put it in the place of yours. `method: auto` is
    settled first, by a search of its own. Of a recipe of several domains, each one's students are tuned, and
    OUT/DOMAIN/tuned.yaml is to be run in OUT/DOMAIN.
    """
    require("optuna", "train", "distilrec tune")
    from distilrec.pipeline import choose, tune_across
    from distilrec.pipeline import tune as tune_recipe
    from distilrec.recipe import read_recipe, write_recipe

    given = read_recipe(recipe)
    if given.crosses_domains:
        with Display() as display:
            each = tune_across(given, out, trials, jobs=jobs, progress=display)
        for name, found in each.items():
            write_recipe(found, out / name / "tuned.yaml")
        show({name: str(out / name / "tuned.yaml") for name in each}, as_json)
        return
    with Display() as display:
        content = choose(given, out, jobs=jobs, progress=display)
        tuned = tune_recipe(content, out, trials, jobs=jobs, progress=display)
    write_recipe(tuned, out / "tuned.yaml")
    chosen: dict[str, Any] = {str(arm): found.model_dump() for arm, found in tuned.tuned.items()}
    show({**chosen, "recipe": str(out / "tuned.yaml")}, as_json)


def parse_bytes(text: str) -> int:
    """Read a size such as 500k, 2M, 1.5G or 800000.

    >>> parse_bytes("500k"), parse_bytes("2MB"), parse_bytes("800")
    (500000, 2000000, 800)
    """
    number = text.strip().lower().removesuffix("b").removesuffix("i")
    factor = {"k": 10**3, "m": 10**6, "g": 10**9}.get(number[-1:], 1)
    try:
        return int(float(number[:-1] if factor > 1 else number) * factor)
    except (ValueError, OverflowError) as error:
        raise RecipeError(f"--max-bytes: {text!r} is not a size; write 800000, 500k, 2M or 1.5G") from error


def _some(recipe: Path, out: Path, jobs: int | None, what: str, as_json: bool) -> None:
    """Run a part of the stages and print what they said."""
    require("torch", "train", "distilrec")
    from distilrec.pipeline import run_part
    from distilrec.recipe import read_recipe

    with Display() as display:
        results = run_part(read_recipe(recipe), out, what, jobs=jobs, progress=display)
    for result in results.values():
        result.pop("curve", None)
    if as_json:
        print(json.dumps(results))  # noqa: T201
        return
    for name, result in results.items():
        show_table(name, ["", ""], [[key, _short(value)] for key, value in result.items()])


def _short(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _show_plan(plan: list[tuple[str, str]], as_json: bool) -> None:
    if as_json:
        print(json.dumps([{"stage": stage, "plan": why} for stage, why in plan]))  # noqa: T201
    else:
        show_table("Stages", ["stage", "plan"], plan)


def _show_across(found: Any, out: Path, as_json: bool) -> None:
    if as_json:
        print(found.to_json(), end="")  # noqa: T201
        return
    for domain in found.domains:
        rows = [[arm.name, f"{arm.quality.mean:.4f}", f"{arm.parameters:,}", f"{arm.bytes:,}"] for arm in domain.arms]
        show_table(f"{domain.name}: {found.metric} on test", ["arm", found.metric, "parameters", "bytes"], rows)
    said = {domain.name: domain.sentence.partition(": ")[2] for domain in found.domains}
    show({**said, "report": str(out / "report.html")}, False)


def _show_report(report: Any, out: Path, as_json: bool) -> None:
    if as_json:
        print(report.to_json(), end="")  # noqa: T201
        return
    from distilrec.report import reservations, verdict

    metric = report.metric
    rows = []
    for arm in report.arms:
        found = arm.metrics[metric]
        span = "" if found.ci95 is None else f"[{found.ci95[0]:.4f}, {found.ci95[1]:.4f}]"
        milliseconds = "" if arm.latency_ms is None else f"{arm.latency_ms.p50:.2f}"
        rows.append([arm.name, f"{found.mean:.4f} {span}", f"{arm.parameters:,}", f"{arm.bytes:,}", milliseconds])
    show_table(f"{report.data.name}: {metric} on test", ["arm", metric, "parameters", "bytes", "ms"], rows)
    advice = {} if report.drift is None else {"drift": report.drift.sentence}
    places = {"report": str(out / "report.html"), "student": str(out / "bundle")}
    show({"verdict": " ".join([verdict(report), *reservations(report)]), **advice, **places}, False)
