"""From a source to a dataset that is cut in train, validation and test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilrec.data.build import Built, build
from distilrec.data.columns import Columns, ItemColumns
from distilrec.data.config import DataConfig, ItemsConfig, Preparation
from distilrec.data.content import Modality, contents_of
from distilrec.data.domains import Places, only, split_each
from distilrec.data.files import Table, open_frame, open_table
from distilrec.data.guess import guess_columns, guess_item_columns
from distilrec.data.interactions import Dataset
from distilrec.data.items import align_items, read_items
from distilrec.data.named import find_file, locate
from distilrec.data.snapshot import Snapshot
from distilrec.data.split_kinds import UNUSED
from distilrec.data.splits import Split, split, split_negatives
from distilrec.data.typed import read_log
from distilrec.errors import DataError

__all__ = ["Prepared", "from_dataframe", "load"]


@dataclass(frozen=True, eq=False)
class Prepared:
    """A dataset, its split, and the split of its negatives where it has any.

    earlier: (M,) uint8 parallel to the log's values, the part of each interaction in the run that these data go on
    from, 3 where it is new; None where they go on from none. whole, places: the data of all domains, and where this
    one's users and items are there; None where this isn't one domain of several.
    """

    dataset: Dataset
    split: Split
    negatives_split: Split | None = None
    earlier: NDArray[np.uint8] | None = None
    whole: Prepared | None = None
    places: Places | None = None


def load(config: DataConfig, since: Snapshot | None = None, given: Mapping[str, str] | None = None) -> Prepared:
    """Load what `config.source` names: a file, a named set, or a name under DISTILREC_DATA.

    since: the data of an earlier run, of which these are the whole log of today: its users and items keep their
    places, and what it trained on stays training (see docs/decisions/refresh.md).
    given: where the config has no columns, those that needn't be guessed, as the mapping of `guess`.
    Raises DataError, naming file, column and line, for data that can't be used; FetchError for a named set
    that can't be fetched.
    """
    place = locate(config.source)
    table = open_table(place.path, config.format)
    items = config.items or (ItemsConfig(path=str(place.items)) if place.items else None)
    known = config.columns or {**place.columns, **(given or {})}
    about = (
        None if items is None else _About(open_table(find_file(items.path), items.format), items.columns, items.content)
    )
    return _prepared(table, known, about, config, place.name, since)


def from_dataframe(
    frame: Any,
    columns: Columns | None = None,
    *,
    items: Any = None,
    item_columns: ItemColumns | None = None,
    content: Mapping[str, Modality] | None = None,
    preparation: Preparation | None = None,
    name: str = "DataFrame",
    since: Snapshot | None = None,
) -> Prepared:
    """Load from a DataFrame of Polars, pandas, PyArrow or any other library that narwhals knows.

    columns, item_columns: guessed, and noted, where not given. items: a DataFrame with one row per item. content: of
    these, by modality. since: as in `load`.

    >>> import polars as pl
    >>> log = pl.DataFrame({"user": ["a", "a", "a"], "item": [7, 8, 9], "time": [3, 2, 1]})
    >>> from_dataframe(log, Columns(user="user", item="item", time="time")).split.part
    array([0, 1, 2], dtype=uint8)
    """
    about = None if items is None else _About(open_frame(items, f"items of {name}"), item_columns, content or {})
    return _prepared(open_frame(frame, name), columns or {}, about, preparation or Preparation(), name, since)


@dataclass(frozen=True)
class _About:
    """What there is on items."""

    table: Table
    columns: ItemColumns | None
    content: Mapping[str, Modality]


def _prepared(
    table: Table,
    columns: Columns | Mapping[str, str],
    items: _About | None,
    preparation: Preparation,
    name: str,
    since: Snapshot | None,
) -> Prepared:
    notes: tuple[str, ...] = ()
    if not isinstance(columns, Columns):
        columns, reasons, passed = guess_columns(table, columns)
        guessed = ("The columns were guessed: " + "; ".join(reasons.values()) + ".",) if reasons else ()
        notes = guessed + passed
    built = build(read_log(table, columns), preparation, name, since)
    dataset = replace(built.dataset, notes=notes + built.dataset.notes)
    if items is not None:
        dataset = _with_items(dataset, items)
    prepared = _cut(dataset, built, preparation)
    if preparation.domain is not None:
        prepared = only(prepared, preparation.domain, preparation.split)
    return prepared if since is None else _go_on(prepared, since, by_time=preparation.repeats == "keep")


def _with_items(dataset: Dataset, about: _About) -> Dataset:
    columns = about.columns or guess_item_columns(about.table)
    if dataset.domains is not None and not dataset.domains.own_ids.equals(dataset.item_ids.values):
        raise DataError(
            f"{dataset.name}: items of two domains share an id, so {about.table.name} can't say which it means; give "
            "each item an id of its own in both"
        )
    vectors = [name for modality in about.content.values() if modality.kind == "vectors" for name in modality.columns]
    told = read_items(about.table, columns, vectors)
    if len(told) and not (dataset.item_ids.encode(told["item"]) >= 0).any():
        log, there = dataset.item_ids.values[0], told["item"][0]
        raise DataError(
            f"{about.table.name}: none of the ids in column {columns.item!r}, such as {there!r}, is an item of "
            f"{dataset.name}, such as {log!r}; name the column that holds the log's ids"
        )
    items, notes = align_items(told, dataset.item_ids)
    contents = {
        name: contents_of(about.table, columns.item, modality, dataset.item_ids)
        for name, modality in about.content.items()
    }
    return replace(dataset, items=items, contents=contents, notes=dataset.notes + notes)


def _cut(dataset: Dataset, built: Built, preparation: Preparation) -> Prepared:
    if dataset.domains is not None:
        return Prepared(dataset, *split_each(dataset, dataset.domains, preparation.split, built))
    positives = split(dataset.interactions, preparation.split, built.part)
    if dataset.negatives is None:
        return Prepared(dataset, positives)
    negatives = split_negatives(positives, dataset.negatives, preparation.split, built.negatives_part)
    return Prepared(dataset, positives, negatives)


def _go_on(prepared: Prepared, since: Snapshot, *, by_time: bool) -> Prepared:
    """Keep what the earlier run trained on in training, and what it validated on out of test."""
    earlier = since.parts(prepared.split.log, liked=True, by_time=by_time)
    kept, moved = _held_back(prepared.split, earlier)
    negatives = prepared.negatives_split
    if negatives is not None:
        negatives, _ = _held_back(negatives, since.parts(negatives.log, liked=False, by_time=by_time))
    notes = prepared.dataset.notes
    if moved:
        notes += (
            f"{moved:,} interactions stay in the part that they had in the earlier run, which learned from them.",
        )
    return Prepared(replace(prepared.dataset, notes=notes), kept, negatives, earlier)


def _held_back(cut: Split, earlier: NDArray[np.uint8]) -> tuple[Split, int]:
    """The split in which nothing lies in a later part than it did, and how many interactions that moved."""
    part = np.where(cut.part < UNUSED, np.minimum(cut.part, earlier), cut.part)
    return Split(cut.log, part), int((part != cut.part).sum())
