"""From the user's columns to checked ones of fixed types; the first bad value is named with its place."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import polars as pl

from distilrec.data.columns import Columns, listing
from distilrec.data.files import Table
from distilrec.data.split_kinds import PART_CODES
from distilrec.errors import DataError

__all__ = ["are_integers", "as_numbers", "as_times", "check_columns", "id_column", "read_log", "time_forms"]

_SAMPLE_ROWS = 1000

_INTEGER_FORM, _NUMBER_FORM = "integer", "number"
_TIME_FORMS = (
    _INTEGER_FORM,
    _NUMBER_FORM,
    "%Y-%m-%dT%H:%M:%S%.f%#z",
    "%Y-%m-%d %H:%M:%S%.f%#z",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%d %H:%M:%S%.f UTC",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d",
    "%Y/%m/%d %H:%M:%S%.f",
    "%Y/%m/%d",
    "%d.%m.%Y %H:%M:%S%.f",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y",
    "%d/%m/%Y %H:%M:%S%.f",
    "%d/%m/%Y",
    "%m/%d/%Y %H:%M:%S%.f",
    "%m/%d/%Y",
)

_LONGEST_ID = 1000  # bytes; more is a broken file, not an id
_LATEST = 9.2e12  # seconds whose microseconds fit in int64
_EXACT = 2.0**53  # float64 holds every integer below it
_INTEGER = r"^(0|-?[1-9]\d{0,17})$"  # as Python would print it, so that no id changes on its way in
_DOMAIN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
_YES, _NO = ("1", "1.0", "true"), ("0", "0.0", "false")

_EXPECTED = {
    "user": "an id (an integer, or a string of at most 1,000 bytes)",
    "item": "an id (an integer, or a string of at most 1,000 bytes)",
    "time": "a time (a number of at least 0, or a date not before 1970) in the form of most of the first rows",
    "rating": "a finite number",
    "weight": "a finite number of at least 0",
    "label": "0 or 1",
    "part": "train, validation or test",
    "domain": "a name of letters, digits, - and _, since folders are named after it",
}


@dataclass(frozen=True)
class _Column:
    """A column of a table, to be read with one meaning; sample: its first values that aren't null."""

    meaning: str
    name: str
    sample: pl.Series
    table: Table

    @property
    def raw(self) -> pl.Expr:
        return pl.col(self.name)

    @property
    def where(self) -> str:
        return f"{self.table.name}: column {self.name!r}"

    @property
    def is_string(self) -> bool:
        return self.sample.dtype == pl.String


def read_log(table: Table, columns: Columns) -> pl.DataFrame:
    """The mapped columns of a table, named by their meanings, without a null.

    user, item: Int64 or String. time: Int64. rating, weight: Float32. label: Boolean. part: UInt8, as
    PART_CODES. domain: String.

    Ids from text files are integers where all of them are written as Python would print an integer, and
    strings as they stand otherwise ("007" stays "007"). Lines of a text file whose mapped columns are all
    empty are skipped.
    Raises DataError, with column and line, for a missing column, a missing value, or one that can't be used.
    """
    named = columns.named()
    sample = _sample(table, named)
    parsed = {key: _Column(key, name, sample[name], table) for key, name in named.items()}
    plan = {key: _value(column) for key, column in parsed.items()}
    frame = table.collect(_lazy(table, named, plan))
    for key in ("user", "item"):
        if table.text and frame[key].dtype == pl.Int64 and frame[key].null_count():
            plan[key] = _string_id(pl.col(named[key]))  # the sample had only integers, the rest has not
            frame = table.collect(_lazy(table, named, plan))
    for key, name in named.items():
        if frame[key].null_count():
            raise DataError(_fault(table, named, key, name, plan[key]))
    if frame.height == 0:
        raise DataError(f"{table.name} has no rows; give at least one interaction")
    return frame if "time" not in named else frame.with_columns(_whole_times(frame["time"]))


def id_column(table: Table, name: str) -> pl.Expr:
    """The ids in a column: Int64, or String where one of them isn't an integer; null where there is none."""
    sample = table.collect(table.frame.select(pl.col(name).drop_nulls()))[name]
    return _id(_Column("item", name, sample, table))


def are_integers(strings: pl.Series) -> bool:
    """Whether all strings are written as Python would print an integer of 64 bits.

    >>> are_integers(pl.Series(["7", "-12"])), are_integers(pl.Series(["007"]))
    (True, False)
    """
    return len(strings) > 0 and bool(strings.str.contains(_INTEGER).all())


def as_numbers(values: pl.Series) -> pl.Series:
    """Strings as integers or numbers, where all are written so; other values as they are, and codes such as 007.

    >>> as_numbers(pl.Series(["7", None])).to_list(), as_numbers(pl.Series(["7.5", "x"])).to_list()
    ([7, None], ['7.5', 'x'])
    >>> as_numbers(pl.Series(["01234", "90210"])).to_list()
    ['01234', '90210']
    """
    if values.dtype != pl.String or values.null_count() == len(values):
        return values
    if are_integers(values.drop_nulls()):
        return values.cast(pl.Int64)
    numbers = values.cast(pl.Float64, strict=False)
    are_codes = bool(values.str.contains(r"^-?0\d").any())
    return numbers if numbers.null_count() == values.null_count() and not are_codes else values


def time_forms(strings: pl.Series) -> list[str]:
    """The forms of time, a kind of number or a format of dates, that the most strings have; none where none has one.

    >>> time_forms(pl.Series(["31/12/2023", "soon", "01/12/2023"])), time_forms(pl.Series(["7", "n/a"]))
    (['%d/%m/%Y'], ['integer', 'number'])
    """
    counts = {form: as_times(strings, form).count() for form in _TIME_FORMS}
    return [form for form, count in counts.items() if count == max(counts.values()) > 0]


def as_times(strings: pl.Series, form: str) -> pl.Series:
    """The numbers of strings in one of `time_forms`, for dates microseconds since 1970; null where it isn't theirs."""
    return strings.to_frame("time").select(_in_form(pl.col("time"), form)).to_series()


def _in_form(raw: pl.Expr, form: str) -> pl.Expr:
    if form == _INTEGER_FORM:
        return raw.cast(pl.Int64, strict=False)
    if form == _NUMBER_FORM:
        return _exact(raw.cast(pl.Float64, strict=False))
    return raw.str.to_datetime(form, strict=False, time_unit="us").dt.epoch("us")


def check_columns(table: Table, named: Mapping[str, str]) -> None:
    """Raise DataError where the table lacks a column; named: meaning -> its column."""
    present = table.columns()
    for meaning, name in named.items():
        if name not in present:
            raise DataError(
                f"{table.name} has no column {name!r} (given as {meaning}); it has {listing(present)}; "
                "name the right one"
            )


def _sample(table: Table, named: Mapping[str, str]) -> dict[str, pl.Series]:
    check_columns(table, named)
    head = table.collect(table.frame.select(list(named.values())).head(_SAMPLE_ROWS))
    return {name: head[name].drop_nulls() for name in named.values()}


def _lazy(table: Table, named: Mapping[str, str], plan: Mapping[str, pl.Expr]) -> pl.LazyFrame:
    frame = table.frame
    if table.text:
        frame = frame.filter(~_empty(named.values()))
    return frame.select(value.alias(key) for key, value in plan.items())


def _empty(names: Collection[str]) -> pl.Expr:
    return pl.all_horizontal(pl.col(name).is_null() for name in names)


def _fault(table: Table, named: Mapping[str, str], key: str, name: str, value: pl.Expr) -> str:
    rows = table.frame.with_row_index("row number")
    if table.text:
        rows = rows.filter(~_empty(named.values()))
    first = table.collect(rows.filter(value.is_null()).select("row number", name).head(1))
    place = table.place(int(first["row number"][0]))
    given = first[name][0]
    if given is None or (key in ("user", "item") and not str(given).strip()):
        return f"{table.name}, {place}: no value in column {name!r}; drop the row or fill it in"
    shown = repr(given) if len(repr(given)) <= 60 else repr(given)[:60] + "..."
    return f"{table.name}, {place}: {shown} in column {name!r} isn't {_EXPECTED[key]}; correct or drop the row"


def _value(column: _Column) -> pl.Expr:
    match column.meaning:
        case "user" | "item":
            return _id(column)
        case "time":
            return _time(column)
        case "rating":
            return _finite(column)
        case "weight":
            return _at_least_zero(_finite(column))
        case "label":
            written = column.raw.cast(pl.String, strict=False).str.to_lowercase()
            return pl.when(written.is_in(_YES)).then(True).when(written.is_in(_NO)).then(False)
        case "domain":
            written = column.raw.cast(pl.String, strict=False)
            return pl.when(written.str.contains(_DOMAIN)).then(written)
        case _:
            written = column.raw.cast(pl.String, strict=False).str.strip_chars().str.to_lowercase()
            return written.replace_strict(PART_CODES, default=None, return_dtype=pl.UInt8)


def _id(column: _Column) -> pl.Expr:
    kind = column.sample.dtype
    if kind.is_integer():
        return column.raw.cast(pl.Int64, strict=False)
    if kind.is_float():
        return pl.when(column.raw == column.raw.floor()).then(column.raw).cast(pl.Int64, strict=False)
    if column.table.text and are_integers(column.sample):
        return pl.when(column.raw.str.contains(_INTEGER)).then(column.raw).cast(pl.Int64, strict=False)
    if kind in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        return _string_id(column.raw)
    raise DataError(f"{column.where} holds {kind}, which can't be an id; use integers or strings")


def _string_id(raw: pl.Expr) -> pl.Expr:
    written = raw.cast(pl.String)
    whole = (written.str.len_bytes() <= _LONGEST_ID) & (written.str.strip_chars().str.len_bytes() > 0)
    return pl.when(whole).then(written)


def _finite(column: _Column) -> pl.Expr:
    number = column.raw.cast(pl.Float32, strict=False)
    return pl.when(number.is_finite()).then(number)


def _at_least_zero(number: pl.Expr) -> pl.Expr:
    return pl.when(number >= 0).then(number)


def _time(column: _Column) -> pl.Expr:
    kind = column.sample.dtype
    if column.is_string:
        return _at_least_zero(_in_form(column.raw, _time_form(column)))
    if kind.is_integer():
        return _at_least_zero(column.raw.cast(pl.Int64, strict=False))
    if kind in (pl.Date, pl.Datetime):
        return _at_least_zero(column.raw.dt.epoch("us"))
    if kind.is_float():
        return _at_least_zero(_exact(column.raw.cast(pl.Float64)))
    if kind == pl.Null:
        return column.raw.cast(pl.Int64)
    raise DataError(f"{column.where} holds {kind}, which can't be a time; use integers or dates")


def _exact(number: pl.Expr) -> pl.Expr:
    return pl.when(number.is_finite() & (number < _EXACT)).then(number)


def _time_form(column: _Column) -> str:
    """How times are written in a column of strings: as most of the first ones are, so that a bad one is named later."""
    found = time_forms(column.sample)
    if not found:
        if len(column.sample) == 0:
            return _INTEGER_FORM
        raise DataError(
            f"{column.where} begins with {column.sample[0]!r}, which is no time we know; "
            "write times as integers, or as 2024-12-31 or 2024-12-31T23:59:59"
        )
    if {form[:5] for form in found} == {"%d/%m", "%m/%d"}:
        example = column.sample.filter(as_times(column.sample, found[0]).is_not_null())[0]
        raise DataError(
            f"{column.where} holds dates like {example!r}, of which day and month can't be told apart; "
            "write them as 2024-12-31"
        )
    return found[0]


def _whole_times(times: pl.Series) -> pl.Series:
    """Int64: seconds with fractions become microseconds; floats that are whole, or too late, are rounded."""
    if times.dtype != pl.Float64 or bool((times == times.floor()).all()):
        return times.cast(pl.Int64)
    unit = 1_000_000 if bool((times < _LATEST).all()) else 1
    return (times * unit).round().cast(pl.Int64)
