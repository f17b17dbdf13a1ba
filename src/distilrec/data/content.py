"""Content of items: which columns hold text, images, sound, vectors or attributes, and reading them block by block."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from distilrec.data.files import Table
from distilrec.data.interactions import Ids
from distilrec.data.typed import as_numbers, check_columns, id_column
from distilrec.errors import DataError

__all__ = ["Contents", "Modality", "ModalityKind", "contents_of"]

TEXT_ROWS = 65_536  # of text files, of which a slice is found by reading all that stands before it

ModalityKind: TypeAlias = Literal["text", "image", "audio", "vectors", "attributes"]


class Modality(BaseModel):
    """Content of one sort, by which an item can be known before anyone takes it.

    kind: `text`: the columns joined, one per line. `image`, `audio`: one column of encoded bytes, or of file names,
    relative to the items file. `vectors`: one column of lists of numbers, all of one length, computed elsewhere.
    `attributes`: categories, lists of categories, and numbers.
    knows_later: whether it was written with knowledge that nobody had when the interactions happened, such as ratings
    or awards; then it is kept out of headline numbers.

    >>> Modality(kind="image", columns=("poster", "still"))
    Traceback (most recent call last):
    ...
    pydantic_core._pydantic_core.ValidationError: 1 validation error for Modality
      Value error, image takes one column, given poster, still; make each a modality of its own [type=value_error, ...
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ModalityKind
    columns: tuple[str, ...] = Field(min_length=1)
    knows_later: bool = False

    @model_validator(mode="after")
    def _one_column(self) -> Self:
        if self.kind in ("image", "audio", "vectors") and len(self.columns) > 1:
            raise ValueError(
                f"{self.kind} takes one column, given {', '.join(self.columns)}; make each a modality of its own"
            )
        return self


@dataclass(frozen=True, eq=False)
class Contents:
    """One modality of a catalogue, read when it is asked for.

    table, item: the items file and its column of ids. known: (N,) bool, the items that have this content. lost: how
    many file names lead to no file, and one of them.
    """

    modality: Modality
    table: Table
    item: str
    item_ids: Ids
    known: NDArray[np.bool_]
    lost: tuple[int, str] | None = None

    def blocks(self, rows: int = 1024) -> Iterator[tuple[NDArray[np.int32], list[Any]]]:
        """Item places (n,) and their values, n <= `rows`, in the order of the file; only of items that are known.

        A value is a str, the bytes of an image or sound, a float32 vector (D,), or a dict of attributes by column.
        Of several rows of an item the first with content counts. Raises DataError on vectors of other lengths.
        """
        unread = self.known.copy()
        for frame in self._frames(rows):
            places = self.item_ids.encode(frame["item"])
            there = self._there(frame) & (places >= 0)
            there &= unread[places]
            first = np.zeros(len(places), np.bool_)
            first[np.flatnonzero(there)[np.unique(places[there], return_index=True)[1]]] = True
            unread[places[first]] = False
            kept = frame.filter(pl.Series(first))
            for begin in range(0, kept.height, rows):
                part = kept[begin : begin + rows]
                yield places[first][begin : begin + rows], self._read(part)

    def of(self, places: NDArray[np.integer[Any]]) -> dict[int, Any]:
        """The values of some items (n,) by place, as `blocks` gives them; of those that have none, nothing."""
        wanted = self.item_ids.decode(places[self.known[places]])
        asked = self.table.frame.select(id_column(self.table, self.item).alias("item"), *self._values())
        frame = self.table.collect(asked.filter(pl.col("item").is_in(wanted.implode())))
        kept = frame.filter(pl.Series(self._there(frame))).unique("item", keep="first", maintain_order=True)
        return dict(zip(self.item_ids.encode(kept["item"]).tolist(), self._read(kept), strict=True))

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change when the content does; of image and sound files name, size and time count."""
        digest = hashlib.sha256(f"{self.modality.model_dump_json()}{self.item}".encode())
        digest.update(self.item_ids.values.hash(seed=0).to_numpy().tobytes())
        for frame in self._frames(1024):
            digest.update(frame.hash_rows(seed=0).to_numpy().tobytes())
            if self._are_files:
                for path in map(self._path, frame[self.modality.columns[0]].drop_nulls()):
                    told = path.stat() if path.is_file() else None
                    digest.update(b"-" if told is None else f"{told.st_size} {told.st_mtime_ns}".encode())
        return digest.hexdigest()[:16]

    def _frames(self, rows: int) -> Iterator[pl.DataFrame]:
        """Ids and values, some rows at a time; polars' own batches are read ahead, as many as there are."""
        wanted = self.table.frame.select(id_column(self.table, self.item).alias("item"), *self._values())
        height = self.table.collect(self.table.frame.select(pl.len())).item()
        step = TEXT_ROWS if self.table.text else rows
        for begin in range(0, height, step):
            yield self.table.collect(wanted.slice(begin, step))

    @property
    def _are_files(self) -> bool:
        return self.modality.kind in ("image", "audio") and self._dtype(self.modality.columns[0]) == pl.String

    def _dtype(self, name: str) -> pl.DataType:
        return pl.Float64() if name in self._written_numbers else self.table.frame.collect_schema()[name]

    @cached_property
    def _written_numbers(self) -> frozenset[str]:
        """Those of the attributes in a text file whose every value is a number."""
        if self.modality.kind != "attributes" or not self.table.text:
            return frozenset()
        values = self.table.collect(self.table.frame.select(self.modality.columns))
        return frozenset(column.name for column in values if as_numbers(column).dtype.is_numeric())

    def _values(self) -> list[pl.Expr]:
        match self.modality.kind:
            case "text":
                return [_as_text(name, self._dtype(name)) for name in self.modality.columns]
            case "vectors":
                return [pl.col(self.modality.columns[0]).cast(pl.List(pl.Float32))]
            case _:
                return [pl.col(name).cast(self._dtype(name)) for name in self.modality.columns]

    def _there(self, frame: pl.DataFrame) -> NDArray[np.bool_]:
        """(n,): whether rows of `_values` hold any content that can be read."""
        there: NDArray[np.bool_] = frame.select(self._present())["present"].to_numpy()
        if not self._are_files:
            return there
        files = frame[self.modality.columns[0]]
        return np.array(
            [full and self._path(name).is_file() for full, name in zip(there, files, strict=True)], np.bool_
        )

    def _present(self) -> pl.Expr:
        """Whether a row of `_values` holds any content, as far as the table tells."""
        match self.modality.kind:
            case "text":
                there = [pl.col(name).str.len_bytes() > 0 for name in self.modality.columns]
            case "vectors":
                there = [pl.col(self.modality.columns[0]).list.len() > 0]
            case "image" | "audio":
                name = self.modality.columns[0]
                size = pl.col(name).str.len_bytes() if self._are_files else pl.col(name).cast(pl.Binary).bin.size()
                there = [size > 0]
            case _:
                there = [_is_filled(name, self._dtype(name)) for name in self.modality.columns]
        return pl.any_horizontal(expr.fill_null(False) for expr in there).alias("present")

    def _read(self, frame: pl.DataFrame) -> list[Any]:
        columns = [frame[name].to_list() for name in self.modality.columns]
        match self.modality.kind:
            case "text":
                return ["\n".join(text for text in row if text) for row in zip(*columns, strict=True)]
            case "vectors":
                return _same_length(columns[0], self.table, self.modality.columns[0])
            case "attributes":
                return [dict(zip(self.modality.columns, row, strict=True)) for row in zip(*columns, strict=True)]
            case _:
                return [self._path(value).read_bytes() for value in columns[0]] if self._are_files else columns[0]

    def _path(self, name: str) -> Path:
        return (Path() if self.table.path is None else self.table.path.parent) / name


def contents_of(table: Table, item: str, modality: Modality, item_ids: Ids) -> Contents:
    """Look which items have this content. Raises DataError for a column that isn't there or can't be of this kind.

    >>> from distilrec.data.files import open_frame
    >>> table = open_frame(pl.DataFrame({"id": [1, 2], "plot": ["A toy.", None]}))
    >>> contents = contents_of(table, "id", Modality(kind="text", columns=("plot",)), Ids(pl.Series([1, 2, 3])))
    >>> contents.known, [values for _, values in contents.blocks()]
    (array([ True, False, False]), [['A toy.']])
    """
    check_columns(table, {"item": item, **dict(zip(modality.columns, modality.columns, strict=True))})
    _check_types(table, modality)
    contents = Contents(modality, table, item, item_ids, np.ones(len(item_ids), np.bool_))
    asked = table.frame.select(id_column(table, item).alias("item"), *contents._values())
    wanted = modality.columns if contents._are_files else ()
    frame = table.collect(asked.select("item", contents._present(), *wanted))
    named = frame["present"].to_numpy()
    there = contents._there(frame) if wanted else named
    places = item_ids.encode(frame["item"])
    known = np.zeros(len(item_ids), np.bool_)
    known[places[there & (places >= 0)]] = True
    astray = np.flatnonzero(named & ~there & (places >= 0))
    lost = (len(astray), str(contents._path(frame[wanted[0]][int(astray[0])]))) if len(astray) else None
    return Contents(modality, table, item, item_ids, known, lost)


def _check_types(table: Table, modality: Modality) -> None:
    schema = table.frame.collect_schema()
    for name in modality.columns:
        dtype = schema[name]
        if dtype == pl.Null:  # nothing there, whatever was meant
            continue
        fits = {
            "text": dtype != pl.Binary,
            "image": dtype in (pl.Binary, pl.String),
            "audio": dtype in (pl.Binary, pl.String),
            "vectors": isinstance(dtype, pl.List | pl.Array) and dtype.inner.is_numeric(),
            "attributes": dtype != pl.Binary,
        }[modality.kind]
        if not fits:
            expected = {
                "text": "anything but bytes",
                "attributes": "anything but bytes",
                "vectors": "lists of numbers, which a text file can't hold, but Parquet can",
            }.get(modality.kind, "bytes or file names")
            raise DataError(
                f"{table.name}: column {name!r} holds {dtype}, and {modality.kind} takes {expected}; "
                "name another column, or another kind"
            )


def _as_text(name: str, dtype: pl.DataType) -> pl.Expr:
    joined = pl.col(name).list.eval(pl.element().cast(pl.String)).list.join(", ") if dtype == pl.List else pl.col(name)
    return joined.cast(pl.String).str.strip_chars().alias(name)


def _is_filled(name: str, dtype: pl.DataType) -> pl.Expr:
    if dtype == pl.String:
        return pl.col(name).str.len_bytes() > 0
    if isinstance(dtype, pl.List):
        return pl.col(name).list.len() > 0
    return pl.col(name).is_finite() if dtype.is_float() else pl.col(name).is_not_null()


def _same_length(rows: list[list[float]], table: Table, name: str) -> list[NDArray[np.float32]]:
    lengths = {len(row) for row in rows}
    if len(lengths) > 1:
        raise DataError(
            f"{table.name}: column {name!r} holds vectors of lengths {sorted(lengths)[:3]}; all must have one length"
        )
    return [np.array(row, np.float32) for row in rows]
