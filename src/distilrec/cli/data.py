"""Commands around data: fetch, describe, convert, and a recipe for one's own file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from distilrec.cli.app import Json, app
from distilrec.cli.output import show, show_table
from distilrec.errors import DataError, require

data_app = typer.Typer(no_args_is_help=True, help="Fetch named data sets; describe and convert interaction logs.")
app.add_typer(data_app, name="data")

Source = Annotated[str, typer.Argument(help="A file (CSV, TSV, Parquet, .inter, u.data, ratings.dat) or a named set.")]


def _column(meaning: str, what: str) -> Any:
    text = f"The column of {what}; guessed where not given, and none with ''."
    return typer.Option(f"--{meaning}", metavar="NAME", help=text, rich_help_panel="Columns")


User = Annotated[str | None, _column("user", "users")]
Item = Annotated[str | None, _column("item", "items")]
Time = Annotated[str | None, _column("time", "times")]
Rating = Annotated[str | None, _column("rating", "ratings")]
Weight = Annotated[str | None, _column("weight", "weights, numbers of at least 0")]
Label = Annotated[str | None, _column("label", "likes: 1 for liked, 0 for disliked")]
Part = Annotated[str | None, _column("part", "parts: train, validation or test")]


Items = Annotated[
    Path | None, typer.Option("--items", help="A file with one row per item: its id, title, attributes and content.")
]


def _given(**columns: str | None) -> dict[str, str]:
    return {meaning: name for meaning, name in columns.items() if name is not None}


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
def describe(
    source: Source,
    user: User = None,
    item: Item = None,
    time: Time = None,
    rating: Rating = None,
    weight: Weight = None,
    label: Label = None,
    part: Part = None,
    items: Items = None,
    as_json: Json = False,
) -> None:
    """Say what a data set holds: sizes, times, histories, popularity, and the content of its items.

    Coverage of each text, image, sound and vector is by items and by interactions; their columns are guessed.

    Example: distilrec data describe ratings.csv --items movies.parquet
    """
    from distilrec.data import DataConfig, describe, guess_items, load

    given = _given(user=user, item=item, time=time, rating=rating, weight=weight, label=label, part=part)
    about = describe(load(DataConfig(source=source, items=guess_items(source, items)), given=given).dataset)
    if about.content and not as_json:
        columns = ["content", "kind", "of items", "of interactions", ""]
        rows = [
            [name, found.kind, f"{found.items:.1%}", f"{found.interactions:.1%}", "knows later" * found.knows_later]
            for name, found in about.content.items()
        ]
        show_table("What is known of the items", columns, rows)
    show(about.model_dump(exclude=None if as_json else {"content"}), as_json)


@data_app.command()
def convert(
    source: Source,
    target: Annotated[Path, typer.Argument(help="The file to write, .parquet or .csv.")],
    user: User = None,
    item: Item = None,
    time: Time = None,
    rating: Rating = None,
    weight: Weight = None,
    label: Label = None,
    part: Part = None,
    as_json: Json = False,
) -> None:
    """Write a log with the columns user, item, time, rating and weight, cleaned, by user and in order of time.

    Where it tells of dislikes, `label` is 0 for these, else 1. The notes say what was left out.
    """
    from distilrec.data import DataConfig, load, to_table

    if target.suffix not in (".parquet", ".csv"):
        raise DataError(f"{target}: can write .parquet and .csv, not {target.suffix or 'a file without extension'!r}")
    if target.exists() and Path(source).exists() and target.samefile(source):
        raise DataError(f"{target} is the log itself; write to another file")
    given = _given(user=user, item=item, time=time, rating=rating, weight=weight, label=label, part=part)
    prepared = load(DataConfig(source=source, split={"kind": "column" if part else "random"}), given=given)
    table = to_table(prepared, parts=bool(part))
    partial = target.with_name(target.name + ".partial")
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.suffix == ".parquet":
        table.write_parquet(partial)
    else:
        table.write_csv(partial)
    os.replace(partial, target)
    notes = list(prepared.dataset.notes)
    told = {"file": str(target), "rows": len(table), "columns": list(table.columns), "notes": notes}
    show(told, as_json)


@app.command()
def init(
    source: Source,
    out: Annotated[Path, typer.Option("--out", "-o", help="The recipe to write.")] = Path("recipe.yaml"),
    items: Items = None,
    user: User = None,
    item: Item = None,
    time: Time = None,
    rating: Rating = None,
    weight: Weight = None,
    label: Label = None,
    part: Part = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the recipe.")] = False,
    as_json: Json = False,
) -> None:
    """Look at your own file, guess what its columns mean, and write a recipe that runs.

    Example: distilrec init clicks.csv, then: distilrec run recipe.yaml --out runs/mine
    """
    require("torch", "train", "distilrec init")
    from distilrec.data import describe, guess, load
    from distilrec.recipe import recipe_for, write_recipe

    if out.exists() and not force:
        raise DataError(f"{out} exists; choose another name with --out, or overwrite it with --force")
    given = _given(user=user, item=item, time=time, rating=rating, weight=weight, label=label, part=part)
    found = guess(source, given, items)
    prepared = load(found.config)
    recipe = recipe_for(found.config, prepared)
    write_recipe(recipe, out)
    columns = found.columns.named()
    if not as_json:
        rows = [[meaning, column, found.reasons.get(meaning, "as given")] for meaning, column in columns.items()]
        show_table(f"What {source} seems to hold", ["meaning", "column", "why"], rows)
    about = describe(prepared.dataset)
    show(
        {
            "users": about.users,
            "items": about.items,
            "interactions": about.interactions,
            **({"item_attributes": list(about.attributes)} if about.attributes else {}),
            "split": recipe.data.split.kind,
            "notes": [*found.notes, *about.notes],
            "recipe": str(out),
            "next": f"distilrec run {out} --out runs/{about.name}",
            **({"columns": columns} if as_json else {}),
        },
        as_json,
    )
