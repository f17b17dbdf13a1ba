"""What is known of the items: titles and attributes, aligned with the item ids of a log."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import polars as pl

from distilrec.data.columns import ItemColumns
from distilrec.data.files import Table
from distilrec.data.interactions import Ids
from distilrec.data.typed import as_numbers, check_columns, id_column
from distilrec.errors import DataError

__all__ = ["align_items", "categories_of", "read_items"]


def read_items(table: Table, columns: ItemColumns, without: Collection[str] = ()) -> pl.DataFrame:
    """One row per row of the file: `item`, `title` if there is one, and every other column as it is.

    without: columns to leave on disk; those of bytes are left there, too.
    Columns of text files become numbers where all their values are; MovieLens' and RecBole's lists are lists.
    Raises DataError for a missing column or a row without id.
    """
    check_columns(table, columns.named())
    schema = table.frame.collect_schema()
    left = {*columns.named().values(), *without, *(name for name, dtype in schema.items() if dtype == pl.Binary)}
    others = [name for name in schema if name not in left]
    for name in {"item", "title"} & set(others):
        raise DataError(f"{table.name} has a column {name!r} beside the one given for it; rename one of them")
    title = [_title(table, columns.title)] if columns.title else []
    frame = table.collect(table.frame.select(id_column(table, columns.item).alias("item"), *title, *others))
    missing = frame["item"].is_null().arg_max() if frame["item"].null_count() else None
    if missing is not None:
        raise DataError(
            f"{table.name}, {table.place(missing)}: no id in column {columns.item!r}; drop the row or fill it in"
        )
    return frame.with_columns(as_numbers(frame[name]) for name in others) if table.text else frame


def align_items(items: pl.DataFrame, item_ids: Ids) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """One row per item index, in order, and notes on what didn't fit; the first row of an item counts.

    >>> align_items(pl.DataFrame({"item": [7, 5], "title": ["G", "E"]}), Ids(pl.Series([5, 6])))[0].rows()
    [(5, 'E'), (6, None)]
    """
    place = pl.Series("place", item_ids.encode(items["item"]))
    placed = (
        items.drop("item").with_columns(place).filter(place >= 0).unique("place", keep="first", maintain_order=True)
    )
    index = pl.DataFrame({"place": np.arange(len(item_ids), dtype=np.int32), "item": item_ids.values})
    aligned = index.join(placed, on="place", how="left", maintain_order="left").drop("place")
    notes = []
    if placed.height < len(item_ids):
        notes.append(f"{len(item_ids) - placed.height:,} of {len(item_ids):,} items have no row in the items file.")
    if placed.height < items.height:
        notes.append(
            f"{items.height - placed.height:,} rows of the items file were left out: repeated, or not in the log."
        )
    return aligned, tuple(notes)


def categories_of(values: pl.Series) -> list[list[str]]:
    """The categories of each row of a column: of a list its values, of "a|b" two, of nothing none.

    >>> categories_of(pl.Series(["Drama|War", None])), categories_of(pl.Series([["Drama", None]]))
    ([['Drama', 'War'], []], [['Drama']])
    """
    if isinstance(values.dtype, pl.List):
        lists = values.cast(pl.List(pl.String)).list.drop_nulls()
    else:
        lists = values.cast(pl.String).str.split("|")
    return [[value for value in row or [] if value] for row in lists.to_list()]


def _title(table: Table, name: str) -> pl.Expr:
    listed = isinstance(table.frame.collect_schema()[name], pl.List)  # RecBole parts titles into words
    return (pl.col(name).list.join(" ") if listed else pl.col(name).cast(pl.String)).alias("title")
