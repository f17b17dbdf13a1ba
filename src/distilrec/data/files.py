"""Open the user's tables: CSV, TSV, Parquet, RecBole's and MovieLens' own files, any DataFrame.

Nothing is read here but a few lines: a `Table` is lazy, and knows how to name its rows in an error.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TextIO, TypeAlias

import narwhals as nw
import polars as pl

from distilrec.data.columns import listing
from distilrec.errors import DataError

__all__ = ["FileFormat", "Table", "open_frame", "open_table"]

FileFormat: TypeAlias = Literal["auto", "csv", "tsv", "parquet", "recbole", "movielens"]

_FORMATS: dict[str, FileFormat] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".inter": "recbole",
    ".item": "recbole",
    ".user": "recbole",
}
_MOVIELENS = ("u.data", "u.item", "ratings.dat", "movies.dat")
_MOVIES_CSV = "movieId,title,genres"
_RECBOLE_TYPES = ("token", "token_seq", "float", "float_seq")
_NO_SEPARATOR = "\x1f"  # a control character that text doesn't hold, so that a line stays whole

_LOG = ("user_id", "item_id", "rating", "timestamp")
_GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *(
        "Fantasy",
        "Film-Noir",
        "Horror",
        "Musical",
        "Mystery",
        "Romance",
        "Sci-Fi",
        "Thriller",
        "War",
        "Western",
    ),
)


@dataclass(frozen=True)
class Table:
    """A table that is not read yet.

    frame: its columns under the user's names. name: the file's name, for errors.
    text: whether it comes from a text file, where every column is a string until we look at it.
    path, header, separator: where a text file is, how many lines its header takes, and what parts its fields
    (None where fields can't be quoted).
    """

    frame: pl.LazyFrame
    name: str
    text: bool = False
    path: Path | None = None
    header: int = 0
    separator: str | None = None

    def place(self, row: int) -> str:
        """Name a row (from 0) as the user sees it: the line of a text file, counted from 1, or the row."""
        if not self.text or self.path is None:
            return f"row {row + 1}"
        place = row + self.header
        line = place + 1 if self.separator is None else next(islice(_starts(self.path), place, None))
        return f"line {line}"

    def collect(self, frame: pl.LazyFrame) -> pl.DataFrame:
        """Run a plan over this table in bounded memory; a file that can't be read is a DataError."""
        try:
            return frame.collect(engine="streaming")
        except pl.exceptions.PolarsError as error:
            raise DataError(self._why(error)) from error

    def columns(self) -> list[str]:
        """The names of the columns."""
        try:
            return self.frame.collect_schema().names()
        except pl.exceptions.PolarsError as error:
            raise DataError(self._why(error)) from error

    def _why(self, error: Exception) -> str:
        if self.text and self.path is not None:
            fault = _broken_line(self.path) or _faulty_line(self.path, self.separator)
            if fault:
                return f"{self.name}, {fault}"
        return f"{self.name} can't be read ({str(error).splitlines()[0]}); check that it is whole"


def open_table(path: Path | str, file_format: FileFormat = "auto") -> Table:
    """Open a file without reading it.

    Formats, told by the extension where `file_format` is `auto`: csv (the separator, one of ``,;|`` or a
    tab, is seen from the header), tsv, parquet, recbole (``.inter``, ``.item``: tabs, a header of
    ``field:type``), movielens (``u.data``, ``u.item``, ``ratings.dat``, ``movies.dat``; its ``ratings.csv``
    and ``movies.csv`` are csv). Text is UTF-8; MovieLens' item files may be Latin-1.
    Raises DataError for a path that is missing, a folder, empty, of unknown extension or not UTF-8, and
    for a RecBole file without its header.
    """
    path = Path(path)
    _check_file(path)
    told = "movielens" if path.name in _MOVIELENS else _FORMATS.get(path.suffix.lower())
    chosen = told if file_format == "auto" else file_format
    match chosen:
        case "parquet":
            return Table(pl.scan_parquet(path), path.name, path=path)
        case "movielens":
            return _movielens(path)
        case "csv" | "tsv" | "recbole":
            header = _header(path)
            if chosen == "recbole":
                return _recbole(path, header)
            return _separated(path, "\t" if chosen == "tsv" else _separator(header))
        case _:
            raise DataError(
                f"{path.name} has the unknown extension {path.suffix!r}; use one of {', '.join(_FORMATS)}, "
                "or name its format"
            )


def open_frame(frame: Any, name: str = "DataFrame") -> Table:
    """Take any DataFrame or LazyFrame that narwhals knows (Polars, pandas, PyArrow, DuckDB, ...).

    >>> open_frame(pl.DataFrame({"user": [1], "item": [2]})).columns()
    ['user', 'item']
    """
    if isinstance(frame, pl.LazyFrame):
        return Table(frame, name)
    try:
        known = nw.from_native(frame)
    except TypeError as error:
        raise DataError(
            f"{name}: a {type(frame).__name__} isn't a DataFrame; give one of Polars, pandas or PyArrow"
        ) from error
    whole = known.collect(backend="polars") if isinstance(known, nw.LazyFrame) else known
    try:
        return Table(whole.to_polars().lazy(), name)
    except Exception as error:  # of pyarrow, which isn't among what is required
        raise DataError(
            f"{name}: {_mixed(whole)} can't be read ({error}); write its values as one type, such as by .astype(str)"
        ) from error


def _mixed(whole: nw.DataFrame[Any]) -> str:
    """The first column that can't be read by itself."""
    for column in whole.columns:
        try:
            whole.select(column).to_polars()
        except Exception:  # whatever it is, this is the one
            return f"column {column!r}"
    return "its columns"


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise DataError(f"{path} is a folder; give the file of interactions in it")
    if not path.exists():
        raise DataError(f"{path} doesn't exist; check the path")
    if path.stat().st_size == 0:
        raise DataError(f"{path.name} is empty; give a file with a header and at least one row")


def _header(path: Path) -> str:
    with path.open("rb") as file:
        line = file.readline(1_000_000)
    try:
        return line.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise DataError(f"{path.name}, line 1 isn't UTF-8 text; save the file as UTF-8") from None


def _separator(header: str) -> str:
    return max(",;\t|", key=header.count)


def _separated(path: Path, separator: str) -> Table:
    frame = pl.scan_csv(path, separator=separator, infer_schema=False)
    if _header(path) == _MOVIES_CSV:
        frame = frame.with_columns(pl.col("genres").str.split("|"))
    return Table(frame, path.name, text=True, path=path, header=1, separator=separator)


def _recbole(path: Path, header: str) -> Table:
    fields = [field.partition(":") for field in header.split("\t")]
    names = [name for name, _, _ in fields]
    for name, colon, kind in fields:
        if kind not in _RECBOLE_TYPES:
            raise DataError(
                f"{path.name}, line 1: {listing([name + colon + kind])} isn't a field of RecBole's header, such as "
                "user_id:token; put that header first, or, if the columns have plain names, call the file .tsv"
            )
    frame = pl.scan_csv(path, separator="\t", infer_schema=False, quote_char=None)
    frame = frame.rename(dict(zip(header.split("\t"), names, strict=True))).with_columns(
        pl.col(name).str.split(" ") for name, _, kind in fields if kind == "token_seq"
    )
    return Table(frame, path.name, text=True, path=path, header=1)


def _movielens(path: Path) -> Table:
    match path.name:
        case "u.data":
            lines = pl.scan_csv(
                path, separator="\t", has_header=False, new_columns=_LOG, infer_schema=False, quote_char=None
            )
        case "ratings.dat":
            lines = pl.scan_csv(
                path,
                separator=_NO_SEPARATOR,
                has_header=False,
                new_columns=["line"],
                infer_schema=False,
                quote_char=None,
            )
            lines = lines.select(pl.col("line").str.splitn("::", 4).struct.rename_fields(list(_LOG))).unnest("line")
        case "u.item":
            lines = _u_item(_lines(path))
        case "movies.dat":
            parts = pl.col("line").str.splitn("::", 3).struct.rename_fields(["item_id", "title", "genres"])
            lines = _lines(path).select(parts).unnest("line").with_columns(pl.col("genres").str.split("|"))
        case _:
            raise DataError(f"{path.name} isn't a file of MovieLens; expected {', '.join(_MOVIELENS)}")
    return Table(lines, path.name, text=True, path=path)


def _lines(path: Path) -> pl.LazyFrame:
    content = path.read_bytes()
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:  # the publisher's encoding
        text = content.decode("latin-1")
    return pl.LazyFrame({"line": text.replace("\r\n", "\n").removesuffix("\n").split("\n")})


def _u_item(lines: pl.LazyFrame) -> pl.LazyFrame:
    fields = pl.col("line").str.split("|")
    flags = [
        pl.when(fields.list.get(5 + place, null_on_oob=True) == "1").then(pl.lit(name))
        for place, name in enumerate(_GENRES)
    ]
    return lines.select(
        fields.list.get(0).alias("item_id"),
        fields.list.get(1, null_on_oob=True).alias("title"),
        pl.concat_list(flags).list.drop_nulls().alias("genres"),
    )


def _broken_line(path: Path) -> str | None:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return f"line {number} isn't UTF-8 text; save the file as UTF-8"
    return None


def _faulty_line(path: Path, separator: str | None) -> str | None:
    """The first line with more fields than the header, or with an open quote; slow, for naming faults only.

    separator: as in `Table`.
    """
    width, line, quotes = 0, 1, 0

    def counted(file: TextIO) -> Iterator[str]:
        nonlocal quotes
        for text in file:
            quotes += text.count('"')
            yield text

    quoting: Any = csv.QUOTE_NONE if separator is None else csv.QUOTE_MINIMAL
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(counted(file), delimiter=separator or "\t", quoting=quoting, strict=True)
        try:
            for fields in reader:
                if separator is not None and quotes % 2:
                    break
                width = width or len(fields)
                if len(fields) > width:
                    return (
                        f"line {line} has {len(fields)} fields, and the header {width}; quote fields that hold "
                        "the separator"
                    )
                line = reader.line_num + 1
            else:
                return None
        except csv.Error as error:
            if "field limit" in str(error) and quotes % 2 == 0:  # a long field, which is no fault
                return None
    return (
        f"line {line} has a quote that isn't closed; close it, or quote the whole field and double each quote within it"
    )


def _starts(path: Path) -> Iterator[int]:
    """The line where each record of a CSV file starts: it goes on while a quote is open."""
    with path.open("rb") as file:
        open_quote = False
        for number, line in enumerate(file, start=1):
            if not open_quote:
                yield number
            open_quote ^= line.count(b'"') % 2 == 1
