"""The first values of a table's columns, and what they may mean."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from distilrec.data.files import Table
from distilrec.data.split_kinds import PART_CODES
from distilrec.data.typed import as_numbers, as_times, time_forms
from distilrec.errors import DataError

__all__ = ["Look", "look_at"]

_ROWS = 10_000  # looked at; enough to tell ids from ratings, few enough to be instant
_EPOCHS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
_FIRST_SECOND, _LAST_SECOND = 631_152_000, 4_102_444_800  # 1990 to 2100


@dataclass(frozen=True)
class Look:
    """The first values of a column, without nulls; numbers of text files, where all values are numbers, are numbers."""

    name: str
    values: pl.Series

    @property
    def n_distinct(self) -> int:
        """How many different values there are."""
        return self.values.n_unique()

    @property
    def repeats(self) -> bool:
        """Whether a value comes more than once."""
        return self.n_distinct < len(self.values)

    @property
    def may_be_id(self) -> bool:
        """Whether the values are integers or strings."""
        return self.values.dtype.is_integer() or self._is_text

    @property
    def _is_text(self) -> bool:
        return self.values.dtype in (pl.String, pl.Categorical, pl.Enum)

    def numbers(self) -> pl.Series:
        """The values as float64; null where one isn't a finite number."""
        if not self.values.dtype.is_numeric() and self.values.dtype != pl.String:
            return _nulls(self.values)
        numbers = self.values.cast(pl.Float64, strict=False)
        return pl.select(pl.when(numbers.is_finite()).then(numbers)).to_series()

    def fitting(self, meaning: str) -> Look:
        """The same with those of the values that a column of this meaning, a field of `Columns`, may hold."""
        match meaning:
            case "user" | "item":
                numbers = self.numbers()
                fits = self.values.is_not_null() if self.may_be_id else numbers == numbers.floor()
            case "time":
                fits = self._times() >= 0
            case "rating":
                fits = self.numbers().is_not_null()
            case "weight":
                fits = self.numbers() >= 0
            case "label":
                fits = self._written().is_in(["0", "1", "0.0", "1.0", "true", "false"])
            case _:
                fits = self._written().is_in(list(PART_CODES))
        return Look(self.name, as_numbers(self.values.filter(fits)))

    def _times(self) -> pl.Series:
        if self.values.dtype in (pl.Date, pl.Datetime):
            return self.values.dt.epoch("us")
        if self.values.dtype != pl.String:
            return self.numbers()
        forms = time_forms(self.values)
        return as_times(self.values, forms[0]) if forms else _nulls(self.values)

    def _written(self) -> pl.Series:
        known = self._is_text or self.values.dtype.is_numeric() or self.values.dtype == pl.Boolean
        return (self.values if known else _nulls(self.values)).cast(pl.String).str.to_lowercase()

    def holds(self, meaning: str) -> str:
        """What the values are, all of which fit this meaning, in words."""
        match meaning:
            case "time":
                return self.moments() or "it holds numbers that can be put in order"
            case "rating" | "weight":
                low, high = self._range()
                return f"it holds {self.n_distinct} different values from {low:g} to {high:g}"
            case "part" | "label":
                return f"it holds {', '.join(self._written().unique().sort())}"
            case _:
                return f"it holds {self.n_distinct:,} different values in {len(self.values):,} rows"

    def tells(self, meaning: str) -> str | None:
        """What the values are, where they tell by themselves that they are a part, a time or a rating."""
        fitting = self.fitting(meaning)
        if not 0 < len(self.values) == len(fitting.values):
            return None
        if meaning == "time":
            return fitting.moments()
        return fitting.holds(meaning) if meaning == "part" or fitting._are_stars() else None

    def moments(self) -> str | None:
        """The dates that it holds, or the integers that are moments between 1990 and 2100 in some unit."""
        if self.values.dtype in (pl.Date, pl.Datetime):
            dates = self.values.sort().cast(pl.String)
            return f"it holds dates from {dates[0]} to {dates[-1]}"
        if self.values.dtype == pl.String:
            return f"it holds dates such as {self.values[0]!r}"
        low, high = self._range()
        for unit, size in _EPOCHS.items():
            if low >= _FIRST_SECOND * size and high <= _LAST_SECOND * size:
                days = [datetime.fromtimestamp(moment / size, UTC).date() for moment in (low, high)]
                return f"it holds {unit} since 1970, from {days[0]} to {days[1]}"
        return None

    def _are_stars(self) -> bool:
        """Three to eleven values within 0 to 10, each used many times: a scale, not a count or an age."""
        low, high = self._range()
        return 0 <= low <= high <= 10 and 3 <= self.n_distinct <= min(11, len(self.values) // 5)

    def _range(self) -> tuple[float, float]:
        numbers = self.numbers().to_numpy()
        return float(numbers.min()), float(numbers.max())


def look_at(table: Table) -> dict[str, Look]:
    """The first values of each column, by its name; DataError where there is no row."""
    names = table.columns()
    head = table.collect(table.frame.head(_ROWS))
    if head.height == 0:
        raise DataError(f"{table.name} has no rows; give at least one interaction")
    values = {name: head[name].drop_nulls() for name in names}
    return {name: Look(name, as_numbers(column) if table.text else column) for name, column in values.items()}


def _nulls(values: pl.Series) -> pl.Series:
    return pl.Series([None] * len(values), dtype=pl.Float64)
