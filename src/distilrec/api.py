"""The few calls that most programs need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distilrec.bundle import Bundle, from_pretrained
from distilrec.data import Columns, guess, load
from distilrec.data.files import open_frame
from distilrec.pipeline import run as run_recipe
from distilrec.pipeline import run_across as run_recipe_across
from distilrec.pipeline.runner import end_if_imported
from distilrec.pipeline.stages import Store
from distilrec.recipe import Recipe, read_recipe, recipe_for
from distilrec.report import Across, Report

__all__ = ["fit", "run", "run_across"]


class _Quiet:
    """Shows nothing."""

    def begin(self, to_do: int, done: int) -> None:
        """Nothing."""

    def step(self, stage: str, done: int, of: int, text: str) -> None:
        """Nothing."""

    def end(self, stage: str, seconds: float) -> None:
        """Nothing."""


def run(
    recipe: Recipe | str | Path, out: str | Path, *, since: str | Path | None = None, jobs: int | None = None
) -> Report:
    """Run a recipe into the folder `out` and return its report; what is done already is kept.

    since: the folder of a finished run to go on from: its teacher is kept, its students are trained on.
    jobs: processes at once, by default one per core. They are started anew: a script that calls this needs the usual
    ``if __name__ == "__main__":``.
    """
    content = recipe if isinstance(recipe, Recipe) else read_recipe(Path(recipe))
    if since is not None:
        content = content.model_copy(update={"since": str(Path(since).resolve())})
    return run_recipe(content, Path(out), jobs=jobs, progress=_Quiet())


def run_across(recipe: Recipe | str | Path, out: str | Path, *, jobs: int | None = None) -> Across:
    """Run a recipe of several domains into the folder `out`, each domain in out/DOMAIN; else as `run`."""
    content = recipe if isinstance(recipe, Recipe) else read_recipe(Path(recipe))
    return run_recipe_across(content, Path(out), jobs=jobs, progress=_Quiet())


def fit(data: Any, out: str | Path, *, columns: Columns | None = None, jobs: int | None = None) -> Bundle:
    """Distil a student from a log with the recipe that `distilrec init` would write, and return it.

    data: any DataFrame, or a file. columns: guessed where not given. Everything, the report too, goes to `out`.
    """
    end_if_imported()
    folder = Path(out)
    Store(folder).make()
    source = Path(data) if isinstance(data, str | Path) else folder / "data.parquet"
    if not isinstance(data, str | Path):
        open_frame(data, "data").frame.sink_parquet(source)
    config = guess(source, columns).config
    run(recipe_for(config, load(config)), folder, jobs=jobs)
    return from_pretrained(folder / "bundle")
