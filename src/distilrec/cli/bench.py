"""Commands that compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from distilrec.cli.app import Json, app
from distilrec.cli.output import fitting, show_table
from distilrec.cli.progress import Display
from distilrec.errors import RecipeError, require

bench = typer.Typer(no_args_is_help=True, help="Compare distillation methods on equal terms.")
app.add_typer(bench, name="bench")


@bench.callback()
def _group() -> None:
    """Compare distillation methods on equal terms."""


@bench.command()
def methods(
    recipe: Annotated[Path, typer.Argument(help="A recipe: its data, teacher and student are those of all methods.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A folder; a comparison that is there already goes on.")],
    only: Annotated[
        str | None, typer.Option("--methods", "-m", help="Names, such as kl,rrd,de; default: all that fit the recipe.")
    ] = None,
    widths: Annotated[
        str | None, typer.Option("--widths", "-w", help="Student widths, such as 10,20; default: the recipe's.")
    ] = None,
    trials: Annotated[int, typer.Option("--trials", "-n", min=0, help="Tuning trials for each arm; 0: none.")] = 8,
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, help="Seeds of each arm; default: the recipe's.")
    ] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="Processes at once; default: cores.")] = None,
    as_json: Json = False,
) -> None:
    """Tune each distillation method and the student alone with the same number of trials, and measure all of them.

    All share one teacher and its soft labels; only validation quality chooses settings. OUT/width-N holds a report for
    each student width, with every method beside plain soft labels and beside the student alone, the tuned recipe, and
    leaderboard.svg.

    Example: distilrec bench methods recipes/quickstart.yaml --out runs/methods --methods rrd --trials 8
    """
    require("optuna", "train", "distilrec bench")
    from distilrec.pipeline import bench_methods
    from distilrec.recipe import read_recipe
    from distilrec.report.leaderboard import COLUMNS, leaderboard

    content = read_recipe(recipe)
    if seeds is not None:
        content = content.model_copy(update={"evaluation": content.evaluation.model_copy(update={"seeds": seeds})})
    names = None if only is None else [name.strip() for name in only.split(",") if name.strip()]
    sizes = [] if widths is None else [parse_width(width) for width in widths.split(",")]
    with Display() as display:
        reports = bench_methods(content, out, names, trials=trials, widths=sizes, jobs=jobs, progress=display)
    boards = {width: leaderboard(report) for width, report in reports.items()}
    if as_json:
        print(json.dumps({width: [row.model_dump() for row in rows] for width, rows in boards.items()}))  # noqa: T201
        return
    for width, rows in boards.items():
        report = reports[width]
        title = f"{report.data.name}, student of width {width}, {report.metric}; p-values corrected for all tests"
        cells = [row.cells() for row in rows]
        shown = fitting(COLUMNS, cells)
        show_table(title, COLUMNS[:shown], [row[:shown] for row in cells])
        if shown < len(COLUMNS):
            print(f"Too narrow for: {', '.join(COLUMNS[shown:])}. A wider window shows them, --json prints all.")  # noqa: T201


def parse_width(text: str) -> int:
    """Read a width; raises RecipeError where it isn't a positive whole number."""
    if not text.strip().isdigit() or int(text) < 1:
        raise RecipeError(f"--widths: {text!r} is not a width; write numbers such as 10,20")
    return int(text)
