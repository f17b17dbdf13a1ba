"""Look at a user's own file and guess what its columns mean, with a reason for each guess."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from distilrec.data.columns import Columns, ItemColumns, listing
from distilrec.data.config import DataConfig
from distilrec.data.files import Table, open_table
from distilrec.data.names import says_id, words_mean
from distilrec.data.splits import PART_CODES, ColumnSplit, LeaveLastOut, RandomSplit, SplitConfig
from distilrec.data.typed import are_integers, date_formats
from distilrec.errors import DataError

__all__ = ["Guess", "guess", "guess_columns", "guess_item_columns"]

_ROWS = 10_000  # looked at; enough to tell ids from ratings, few enough to be instant
_EPOCHS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
_FIRST_SECOND, _LAST_SECOND = 631_152_000, 4_102_444_800  # 1990 to 2100
_STEPS = 20  # of a scale of ratings; more distinct values are an amount


@dataclass(frozen=True)
class Guess:
    """What a file seems to hold.

    columns: the guessed meanings. reasons: a sentence for each of them. config: how to load the file.
    """

    columns: Columns
    reasons: Mapping[str, str]
    config: DataConfig


@dataclass(frozen=True)
class _Look:
    """The first values of a column, without nulls; numbers written as text are numbers."""

    name: str
    values: pl.Series

    @property
    def is_number(self) -> bool:
        return self.values.dtype.is_numeric()

    @property
    def n_distinct(self) -> int:
        return self.values.n_unique()


def guess(path: Path | str, columns: Columns | None = None) -> Guess:
    """Guess the columns of a file where they aren't given, and suggest how to load it.

    With ratings on a scale of at most 20 steps, like_threshold is the lowest value seen that lies above 70 % of their
    range (4 of 1 to 5); hours or counts have none.
    The split follows the file's own parts, or else time, or else lots.
    Raises DataError when no column can be the user, or the item.
    """
    table = open_table(path)
    looks = _looks(table)
    reasons: Mapping[str, str] = {}
    if columns is None:
        columns, reasons = _guessed(looks, table.name)
    threshold = _threshold(looks[columns.rating]) if columns.rating and not columns.label else None
    config = DataConfig(source=str(path), columns=columns, like_threshold=threshold, split=_split(columns))
    return Guess(columns, reasons, config)


def guess_columns(table: Table) -> tuple[Columns, Mapping[str, str]]:
    """The meanings of a table's columns, and a reason for each.

    >>> from distilrec.data.files import open_frame
    >>> frame = pl.DataFrame({"Kunden-Nr": [1, 1], "Artikel": ["a", "b"], "Datum": ["2024-01-31"] * 2})
    >>> guess_columns(open_frame(frame))[0].named()
    {'user': 'Kunden-Nr', 'item': 'Artikel', 'time': 'Datum'}
    """
    return _guessed(_looks(table), table.name)


def guess_item_columns(table: Table) -> ItemColumns:
    """The id and the title of an items file; raises DataError when no column can be the id."""
    names = table.columns()
    ids = [name for name in names if words_mean(name, "item")]
    ids.sort(key=lambda name: not says_id(name))
    ids += [name for name in names if name.casefold() == "id"]
    if not ids:
        raise DataError(f"{table.name}: none of {listing(names)} looks like the item's id; name it in items.columns")
    titles = [name for name in names if name != ids[0] and words_mean(name, "title")]
    return ItemColumns(item=ids[0], title=titles[0] if titles else None)


def _looks(table: Table) -> dict[str, _Look]:
    names = table.columns()
    head = table.collect(table.frame.head(_ROWS))
    return {name: _Look(name, _as_numbers(head[name].drop_nulls(), table.text)) for name in names}


def _as_numbers(values: pl.Series, text: bool) -> pl.Series:
    if not text or values.dtype != pl.String or len(values) == 0:
        return values
    if are_integers(values):
        return values.cast(pl.Int64)
    numbers = values.cast(pl.Float64, strict=False)
    return values if numbers.is_null().any() else numbers


def _guessed(looks: Mapping[str, _Look], where: str) -> tuple[Columns, dict[str, str]]:
    found: dict[str, str] = {}
    reasons: dict[str, str] = {}
    for meaning, why in (
        ("part", _why_part),
        ("time", _why_time),
        ("rating", _why_rating),
        ("label", _why_label),
        ("weight", _why_weight),
        ("user", _why_id),
        ("item", _why_id),
    ):
        named = [look for look in looks.values() if look.name not in found.values() and words_mean(look.name, meaning)]
        for look in sorted(named, key=lambda look: not says_id(look.name)):
            reason = why(look)
            if reason is not None and meaning not in found:
                found[meaning] = look.name
                reasons[meaning] = f"{look.name!r} is the {meaning}: its name says so, and {reason}"
    _by_values(looks, found, reasons)
    _by_elimination(looks, found, reasons)
    for meaning in ("user", "item"):
        if meaning not in found:
            raise DataError(
                f"{where}: none of {listing(list(looks))} looks like the {meaning}; name it in columns.{meaning}"
            )
    order = [meaning for meaning in Columns.model_fields if meaning in found]
    return Columns(**{key: found[key] for key in order}), {key: reasons[key] for key in order}


def _by_values(looks: Mapping[str, _Look], found: dict[str, str], reasons: dict[str, str]) -> None:
    """Parts, dates and star ratings can be told without a name, where just one column could be meant."""
    for meaning, why in (("part", _why_part), ("time", _why_moment), ("rating", _why_stars)):
        left = [] if meaning in found else [look for look in looks.values() if look.name not in found.values()]
        told = [(look.name, reason) for look in left if (reason := why(look)) is not None]
        if len(told) == 1:
            found[meaning] = told[0][0]
            reasons[meaning] = f"{told[0][0]!r} is the {meaning}: {told[0][1]}"


def _by_elimination(looks: Mapping[str, _Look], found: dict[str, str], reasons: dict[str, str]) -> None:
    missing = [meaning for meaning in ("user", "item") if meaning not in found]
    left = [look for look in looks.values() if look.name not in found.values() and _repeats(look)]
    if len(left) == len(missing):
        for meaning, look in zip(missing, left, strict=True):
            found[meaning] = look.name
            reasons[meaning] = (
                f"{look.name!r} is the {meaning}: of the columns left it is the one of ids, in this order"
            )


def _repeats(look: _Look) -> bool:
    """Whether this can be the id of something that comes more than once."""
    return _why_id(look) is not None and 1 < look.n_distinct < len(look.values)


def _why_id(look: _Look) -> str | None:
    kind = look.values.dtype
    if kind.is_integer() or kind in (pl.String, pl.Categorical, pl.Enum):
        return f"it holds {look.n_distinct:,} different values in {len(look.values):,} rows"
    return None


def _why_time(look: _Look) -> str | None:
    ends = _range(look)
    ordered = "it holds numbers that can be put in order" if ends and ends[0] >= 0 else None
    return _why_moment(look) or ordered


def _why_moment(look: _Look) -> str | None:
    """Dates, or integers that are moments between 1990 and 2100 in some unit."""
    kind = look.values.dtype
    if len(look.values) == 0:
        return None
    if kind in (pl.Date, pl.Datetime):
        dates = look.values.sort().cast(pl.String)
        return f"it holds dates from {dates[0]} to {dates[-1]}"
    if kind == pl.String and date_formats(look.values):
        return f"it holds dates such as {look.values[0]!r}"
    ends = _range(look)
    if ends is None:
        return None
    low, high = ends
    for unit, size in _EPOCHS.items():
        if low >= _FIRST_SECOND * size and high <= _LAST_SECOND * size:
            days = [datetime.fromtimestamp(moment / size, UTC).date() for moment in (low, high)]
            return f"it holds {unit} since 1970, from {days[0]} to {days[1]}"
    return None


def _range(look: _Look) -> tuple[float, float] | None:
    """The least and the greatest number; None for a column of anything else."""
    if not look.is_number or len(look.values) == 0:
        return None
    numbers = look.values.cast(pl.Float64).to_numpy()
    return float(numbers.min()), float(numbers.max())


def _why_rating(look: _Look) -> str | None:
    ends = _range(look)
    return ends and f"it holds {look.n_distinct} different values from {ends[0]:g} to {ends[1]:g}"


def _why_stars(look: _Look) -> str | None:
    """Three to eleven values within 0 to 10, each used many times: a scale, not a count or an age."""
    ends = _range(look)
    if ends is None or ends[0] < 0 or ends[1] > 10 or not 3 <= look.n_distinct <= 11:
        return None
    return _why_rating(look) if len(look.values) >= 5 * look.n_distinct else None


def _why_label(look: _Look) -> str | None:
    written = look.values.cast(pl.String).str.to_lowercase().unique()
    allowed = written.is_in(["0", "1", "0.0", "1.0", "true", "false"])
    return "it holds only 0 and 1" if len(written) and bool(allowed.all()) else None


def _why_weight(look: _Look) -> str | None:
    ends = _range(look)
    return _why_rating(look) if ends and ends[0] >= 0 else None


def _why_part(look: _Look) -> str | None:
    if look.values.dtype not in (pl.String, pl.Categorical, pl.Enum) or len(look.values) == 0:
        return None
    parts = look.values.cast(pl.String).str.to_lowercase().unique().sort().to_list()
    return f"it holds {', '.join(parts)}" if set(parts) <= PART_CODES.keys() else None


def _threshold(look: _Look) -> float | None:
    values = look.values.unique().sort().cast(pl.Float64)
    if not 2 <= len(values) <= _STEPS:
        return None
    low, high = values[0], values[-1]
    return float(values.filter(values >= low + 0.7 * (high - low))[0])


def _split(columns: Columns) -> SplitConfig:
    if columns.part is not None:
        return ColumnSplit()
    return LeaveLastOut() if columns.time is not None else RandomSplit()
