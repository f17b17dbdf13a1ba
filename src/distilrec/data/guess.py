"""Look at a user's own file and guess what its columns mean, with a reason for each guess."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
from pydantic import ValidationError

from distilrec.data.columns import Columns, ItemColumns, listing
from distilrec.data.config import DataConfig, ItemsConfig
from distilrec.data.files import Table, open_table
from distilrec.data.guess_content import guess_content
from distilrec.data.look import Look, look_at
from distilrec.data.named import locate
from distilrec.data.names import says_id, words_mean
from distilrec.data.split_kinds import PART_CODES, VALIDATION, ColumnSplit, LeaveLastOut, RandomSplit, SplitConfig
from distilrec.data.typed import check_columns
from distilrec.errors import DataError

__all__ = ["Guess", "guess", "guess_columns", "guess_item_columns", "guess_items"]

OWN_VALIDATION = 0.1  # of train, where the parts of a column have none
_STEPS = 20  # of a scale of ratings; more distinct values are an amount

# What the values of each meaning are, in the order in which meanings choose their columns.
_VALUES = {
    "part": "train, validation or test",
    "time": "times",
    "rating": "numbers",
    "label": "0 or 1",
    "weight": "numbers of at least 0",
    "user": "ids",
    "item": "ids",
}


@dataclass(frozen=True)
class Guess:
    """What a file seems to hold.

    columns: the meanings. reasons: a sentence for each that was guessed. notes: sentences on columns that were passed
    over though their names say what they are. config: how to load the file.
    """

    columns: Columns
    reasons: Mapping[str, str]
    notes: tuple[str, ...]
    config: DataConfig


@dataclass
class _Search:
    """The columns that are found so far, given ones included, and why; sought: the meanings that weren't given."""

    table: Table
    looks: Mapping[str, Look]
    sought: list[str]
    found: dict[str, str]
    reasons: dict[str, str] = field(default_factory=dict)

    def left(self) -> list[Look]:
        return [look for look in self.looks.values() if look.name not in self.found.values()]

    def open(self, *meanings: str) -> list[str]:
        """Those of the meanings that are sought and not found."""
        return [meaning for meaning in meanings if meaning in self.sought and meaning not in self.found]

    def take(self, meaning: str, look: Look, reason: str) -> None:
        self.found[meaning] = look.name
        self.reasons[meaning] = f"{look.name!r} is the {meaning}: {reason}"

    def by_name(self, meaning: str) -> None:
        """A name counts where more than half of the values fit; the reader of the log then names one that doesn't."""
        told = [(look, look.fitting(meaning)) for look in self.named(meaning)]
        told = [(look, fitting) for look, fitting in told if 2 * len(fitting.values) > len(look.values)]
        told.sort(key=lambda pair: (len(pair[0].values) - len(pair[1].values), not says_id(pair[0].name)))
        for look, fitting in told[:1]:
            self.take(meaning, look, f"its name says so, and {fitting.holds(meaning)}")

    def by_values(self, meaning: str) -> None:
        """Parts, dates and star ratings can be told without a name, where just one column could be meant."""
        told = [(look, reason) for look in self.left() if (reason := look.tells(meaning)) is not None]
        if len(told) == 1:
            self.take(meaning, *told[0])

    def by_elimination(self) -> None:
        """Columns of ids that are left, unless this is a table of items or users."""
        missing = self.open("user", "item")
        left = [look for look in self.left() if look.may_be_id and look.repeats and look.n_distinct > 1]
        if len(left) == len(missing) and not any(self.named(meaning) for meaning in missing) and not self.key():
            for meaning, look in zip(missing, left, strict=True):
                self.take(meaning, look, "of the columns left it is the one of ids, in this order")

    def named(self, meaning: str) -> list[Look]:
        return [look for look in self.left() if words_mean(look.name, meaning)]

    def key(self) -> str | None:
        """The user or the item that was found, where it never repeats, as in a table of users or items."""
        for meaning in ("user", "item"):
            name = self.found.get(meaning)
            if name is not None and not self.looks[name].repeats and not self._repeats_later(name):
                return meaning
        return None

    def _repeats_later(self, name: str) -> bool:
        ids = pl.col(name).drop_nulls()
        return bool(self.table.collect(self.table.frame.select(ids.is_duplicated().any())).item())

    def passed(self, meaning: str) -> list[str]:
        """Why columns whose names have the meaning weren't taken."""
        return [
            f"{look.name!r} isn't taken as the {meaning}, though its name says so: "
            + (f"at least half of its values aren't {_VALUES[meaning]}" if len(look.values) else "it is empty")
            for look in self.named(meaning)
        ]

    def columns(self) -> Columns:
        for meaning in ("user", "item"):
            if meaning not in self.found:
                raise DataError(f"{self.table.name}: {self._missing(meaning)}")
        try:
            return Columns(**self.found)
        except ValidationError as error:
            raise DataError(f"{self.table.name}: {error.errors()[0]['ctx']['error']}") from error

    def _missing(self, meaning: str) -> str:
        cure = f"name the {meaning}'s column with --{meaning}, or as columns.{meaning} in a recipe"
        passed, key = self.passed(meaning), self.key()
        if passed:
            return f"{passed[0]}; correct it, or {cure}"
        if key:
            return (
                f"{self.found[key]!r} never repeats, as in a table of {key}s, and no column is named like the "
                f"{meaning}; give the log, one row per interaction, or {cure}"
            )
        return f"none of {listing(list(self.looks))} looks like the {meaning}; {cure}"


def guess(
    source: Path | str, columns: Columns | Mapping[str, str] | None = None, items: Path | str | None = None
) -> Guess:
    """Guess the columns of a log where they aren't given, and suggest how to load it.

    source: as in `DataConfig`. columns: their meanings, or only some of them as a mapping from meaning to name, where
    an empty name says that there is no such column. items: a file with one row per item.
    With ratings on a scale of at most 20 steps, like_threshold is the lowest value seen that lies above 70 % of their
    range (4 of 1 to 5); hours or counts have none.
    The split follows the file's own parts, or else time, or else lots.
    Raises DataError when no column can be the user, or the item, or when a given one isn't there.
    """
    place = locate(source)
    table = open_table(place.path)
    reasons: Mapping[str, str] = {}
    notes: tuple[str, ...] = ()
    if isinstance(columns, Columns):
        check_columns(table, columns.named())
    else:
        columns, reasons, notes = guess_columns(table, {**place.columns, **(columns or {})})
    threshold = _threshold(look_at(table)[columns.rating]) if columns.rating and not columns.label else None
    config = DataConfig(
        source=str(source),
        columns=columns,
        like_threshold=threshold,
        split=_split(table, columns),
        items=None if items is None else guess_items(source, items),
    )
    return Guess(columns, reasons, notes, config)


def guess_items(source: Path | str, items: Path | str | None = None) -> ItemsConfig | None:
    """How to load the items of a log, content included: those of a file, or of the one beside the log; None if none."""
    path = items or locate(source).items
    if path is None:
        return None
    table = open_table(path)
    columns = guess_item_columns(table)
    return ItemsConfig(path=str(path), columns=columns, content=guess_content(table, columns))


def guess_columns(
    table: Table, given: Mapping[str, str] | None = None
) -> tuple[Columns, Mapping[str, str], tuple[str, ...]]:
    """The meanings of a table's columns, a reason for each that was guessed, and notes on those passed over.

    given: as the mapping of `guess`.

    >>> from distilrec.data.files import open_frame
    >>> frame = pl.DataFrame({"Kunden-Nr": [1, 1], "Artikel": ["a", "b"], "Datum": ["2024-01-31"] * 2})
    >>> guess_columns(open_frame(frame))[0].named()
    {'user': 'Kunden-Nr', 'item': 'Artikel', 'time': 'Datum'}
    """
    given = given or {}
    found = {meaning: name for meaning, name in given.items() if name}
    check_columns(table, found)
    search = _Search(table, look_at(table), [meaning for meaning in _VALUES if meaning not in given], found)
    for meaning in search.sought:
        search.by_name(meaning)
    # Where names tell, small numbers without one may be anything, such as a quantity; of ratings dislikes are made.
    nameless = len(search.open("user", "item")) == 2
    for meaning in search.open("part", "time", *(["rating"] if nameless else [])):
        search.by_values(meaning)
    search.by_elimination()
    columns = search.columns()
    notes = [f"{note}." for meaning in search.open(*_VALUES) for note in search.passed(meaning)]
    reasons = {meaning: search.reasons[meaning] for meaning in columns.named() if meaning in search.reasons}
    return columns, reasons, tuple(notes)


def guess_item_columns(table: Table) -> ItemColumns:
    """The id and the title of an items file; raises DataError when no column can be the id."""
    names = table.columns()
    ids = [name for name in names if words_mean(name, "item")]
    ids.sort(key=lambda name: not says_id(name))
    ids += [name for name in names if name.casefold() == "id"]
    if not ids:
        raise DataError(
            f"{table.name}: none of {listing(names)} looks like the item's id; call it item_id, or name it as "
            "items.columns.item in a recipe"
        )
    titles = [name for name in names if name != ids[0] and words_mean(name, "title")]
    return ItemColumns(item=ids[0], title=titles[0] if titles else None)


def _threshold(look: Look) -> float | None:
    values = look.numbers().drop_nulls().unique().sort()
    if not 2 <= len(values) <= _STEPS:
        return None
    low, high = values[0], values[-1]
    return float(values.filter(values >= low + 0.7 * (high - low))[0])


def _split(table: Table, columns: Columns) -> SplitConfig:
    if columns.part is not None:
        names = (
            table.collect(table.frame.select(pl.col(columns.part).cast(pl.String).unique())).to_series().drop_nulls()
        )
        codes = {PART_CODES.get(name.strip().lower()) for name in names}
        return ColumnSplit(validation=0.0 if VALIDATION in codes else OWN_VALIDATION)
    return LeaveLastOut() if columns.time is not None else RandomSplit()
