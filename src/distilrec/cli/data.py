"""Commands around data: fetch, describe, convert, and a recipe for one's own file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from distilrec.cli.app import Json, app
from distilrec.cli.output import show, show_table
from distilrec.errors import DataError

data_app = typer.Typer(no_args_is_help=True, help="Fetch named data sets; describe and convert interaction logs.")
app.add_typer(data_app, name="data")

Source = Annotated[str, typer.Argument(help="A file (CSV, TSV, Parquet, .inter, u.data, ratings.dat) or a named set.")]


@data_app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="ml-100k or ml-1m.")],
    as_json: Json = False,
) -> None:
    """Fetch a named data set once; afterwards it is there without a network. DISTILREC_DATA moves where it is kept."""
    from distilrec.data import NAMED_SETS, named_folder

    if name not in NAMED_SETS:
        raise DataError(f"{name!r} is no named set; these are: {', '.join(NAMED_SETS)}")
    show({"name": name, "folder": str(named_folder(name))}, as_json)


@data_app.command()
def describe(source: Source, as_json: Json = False) -> None:
    """Say what a data set holds: sizes, times, histories, popularity, item attributes."""
    from distilrec.data import DataConfig, describe, load

    show(describe(load(DataConfig(source=source)).dataset).model_dump(), as_json)


@data_app.command()
def convert(
    source: Source,
    target: Annotated[Path, typer.Argument(help="The file to write, .parquet or .csv.")],
    as_json: Json = False,
) -> None:
    """Write a log with the columns user, item, time, rating and weight, cleaned, by user and in order of time."""
    import polars as pl

    from distilrec.data import DataConfig, load

    dataset = load(DataConfig(source=source, split={"kind": "random"})).dataset
    log = dataset.interactions
    users, positions = log.flat()
    columns = {
        "user": dataset.user_ids.decode(users),
        "item": dataset.item_ids.decode(log.histories.values[positions]),
    }
    for name, values in (("time", log.times), ("rating", log.ratings), ("weight", log.weights)):
        if values is not None:
            columns[name] = pl.Series(values[positions])
    frame, partial = pl.DataFrame(columns), target.with_name(target.name + ".partial")
    if target.suffix == ".parquet":
        frame.write_parquet(partial)
    elif target.suffix == ".csv":
        frame.write_csv(partial)
    else:
        raise DataError(f"{target}: can write .parquet and .csv, not {target.suffix or 'a file without extension'!r}")
    os.replace(partial, target)
    show({"file": str(target), "rows": len(frame), "columns": list(frame.columns)}, as_json)


@app.command()
def init(
    file: Annotated[Path, typer.Argument(help="Your interaction log: CSV, TSV or Parquet, one row per interaction.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The recipe to write.")] = Path("recipe.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite the recipe.")] = False,
    as_json: Json = False,
) -> None:
    """Look at your own file, guess what its columns mean, and write a recipe that runs.

    Example: distilrec init clicks.csv, then: distilrec run recipe.yaml --out runs/mine
    """
    from distilrec.data import describe, guess, load
    from distilrec.recipe import recipe_for, write_recipe

    if out.exists() and not force:
        raise DataError(f"{out} exists; choose another name with --out, or overwrite it with --force")
    found = guess(file)
    prepared = load(found.config)
    recipe = recipe_for(found.config, prepared)
    write_recipe(recipe, out)
    if not as_json:
        rows = [[meaning, column, found.reasons.get(meaning, "")] for meaning, column in found.columns.named().items()]
        show_table(f"What {file.name} seems to hold", ["meaning", "column", "why"], rows)
    about = describe(prepared.dataset)
    show(
        {
            "users": about.users,
            "items": about.items,
            "interactions": about.interactions,
            "split": recipe.data.split.kind,
            "notes": list(about.notes),
            "recipe": str(out),
            "next": f"distilrec run {out} --out runs/{file.stem}",
            **({"columns": found.columns.named()} if as_json else {}),
        },
        as_json,
    )
