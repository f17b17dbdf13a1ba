"""A student with its ids, recommending in these."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from distilrec.bundle.manifest import MANIFEST, Manifest, read_manifest, write_manifest
from distilrec.data import Ids, Modality, contents_of
from distilrec.data.columns import listing
from distilrec.data.files import Table, open_frame
from distilrec.encoders import Encoder, load_encoder
from distilrec.errors import ArtefactError, DataError
from distilrec.runtime import Student
from distilrec.runtime.student import WEIGHTS
from distilrec.scoring import Queries, Ragged

__all__ = ["CARD", "CONTENT", "HELD_OUT", "ITEMS", "USERS", "Bundle", "HeldOut", "ItemContent"]

ITEMS, USERS, HELD_OUT = "items.parquet", "users.parquet", "held_out.parquet"
CONTENT, MODEL, CARD = "content", "model.json", "README.md"
LISTS = pl.List(pl.Int32)
HELD_OUT_COLUMNS = {"user": pl.Int32, "history": LISTS, "targets": LISTS, "expected": LISTS}


@dataclass(frozen=True, eq=False)
class Bundle:
    """A student with its ids; it needs neither torch nor what it was trained on.

    items: one row per item in the student's order: `item`, and `title` where known. users: `user`, and `history`, the
    item places that the user has taken (list of int32), in the student's order. content: the modalities that the
    student knows items by, and what encodes them. folder: where it was read from.
    """

    student: Student
    items: pl.DataFrame
    users: pl.DataFrame
    manifest: Manifest
    folder: Path
    content: Mapping[str, ItemContent] = field(default_factory=dict)

    @cached_property
    def _item_ids(self) -> Ids:
        return Ids(self.items["item"])

    @cached_property
    def _user_ids(self) -> Ids:
        return Ids(self.users["user"])

    def recommend(
        self,
        users: Sequence[Any] | None = None,
        histories: Sequence[Sequence[Any]] | None = None,
        *,
        texts: Sequence[str] | None = None,
        k: int = 10,
        filter_seen: bool = True,
        candidates: Sequence[Any] | None = None,
    ) -> pl.DataFrame:
        """The k best items of each query, as a frame with the columns user (or query), item, title, score, rank.

        users: their own ids; known ones are answered from their history. histories: item ids, oldest first, one
        list per query; alone they serve anyone at once, with `users` they go before what is known of them.
        Items that the model doesn't know are left out of a history. texts: a search, one per query, such as "slow films
        about space"; it is read as an item just taken, of which nothing but its text is known, after the history if one
        is given. candidates: rank these items only.
        Raises DataError on unknown users without a history, on histories alone where the model knows users only, on
        texts where it doesn't know items by text, on candidates that no one knows, and on anything else than a list
        where one is expected.
        """
        _check_lists(users, histories, candidates, texts)
        if users is None and histories is None and texts is None:
            raise DataError("recommend: give users, histories, texts, or some of them together")
        if texts is not None:
            return self._for_texts(texts, users, histories, k, filter_seen, candidates)
        if users is None and not self.student.reads_histories:
            raise DataError(
                f"recommend: a {self.manifest.student.model} doesn't read histories, it knows the users of its "
                "training log; give users, or distil a student that reads them (history_encoder, sasrec)"
            )
        if users is not None and histories is not None and len(users) != len(histories):
            raise DataError(f"recommend: {len(users)} users but {len(histories)} histories; give one for each")
        queries = self._queries(users, histories)
        return self._answer(queries, users, k, filter_seen, candidates)

    def _answer(
        self,
        queries: Queries,
        users: Sequence[Any] | None,
        k: int,
        filter_seen: bool,
        candidates: Sequence[Any] | None,
        last: NDArray[np.float32] | None = None,
    ) -> pl.DataFrame:
        allowed = None if candidates is None else self._places_of(candidates)
        lists, scores = self.student.rank(queries, k, filter_seen=filter_seen, allowed=allowed, last=last)
        rows, places = np.nonzero(lists >= 0)
        items = lists[rows, places]
        name = "user" if users is not None else "query"
        asked = pl.Series(name, users if users is not None else range(len(queries)))
        return pl.DataFrame(
            [
                asked.gather(rows),
                self.items["item"].gather(items),
                self.items["title"].gather(items),
                pl.Series("score", scores[rows, places]),
                pl.Series("rank", places + 1),
            ]
        )

    def _queries(self, users: Sequence[Any] | None, histories: Sequence[Sequence[Any]] | None) -> Queries:
        n = len(users) if users is not None else len(histories or ())
        places = np.full(n, -1, np.int32) if users is None else self._user_ids.encode(users)
        if histories is None:
            if (places < 0).any():
                unknown = (users or ())[int(np.flatnonzero(places < 0)[0])]
                advice = "; give a history with `histories=`" if self.student.reads_histories else ""
                raise DataError(f"recommend: user {unknown!r} isn't known{advice}")
            known = self.users["history"].gather(places.astype(np.int64))
            return Queries(places, _rows(known))
        flat = [item for history in histories for item in history]
        owners = np.repeat(np.arange(n), [len(history) for history in histories])
        items = self._item_ids.encode(flat) if flat else np.empty(0, np.int32)
        lengths = np.bincount(owners[items >= 0], minlength=n).astype(np.int64)
        return Queries(places, Ragged.from_lengths(lengths, items[items >= 0]))

    def _for_texts(
        self,
        texts: Sequence[str],
        users: Sequence[Any] | None,
        histories: Sequence[Sequence[Any]] | None,
        k: int,
        filter_seen: bool,
        candidates: Sequence[Any] | None,
    ) -> pl.DataFrame:
        """Recommend as if each text were an item that has just been taken."""
        name = next((name for name, content in self.content.items() if content.modality.kind == "text"), None)
        if name is None:
            raise DataError(
                "recommend: this student doesn't know items by text, so it can't be searched in words; distil one "
                "whose model names a content of kind text"
            )
        if users is not None or histories is not None:
            queries = self._queries(users, histories)
            if len(queries) != len(texts):
                raise DataError(
                    f"recommend: {len(texts)} texts but {len(queries)} users or histories; give one for each"
                )
        else:
            queries = Queries(np.full(len(texts), -1, np.int32), Ragged.from_rows([[] for _ in texts]))
        taken = self.student.placed({name: self.content[name].encode(list(texts))}, len(texts))
        return self._answer(queries, users, k, filter_seen, candidates, taken[:, : self.manifest.student.width])

    def add_items(
        self,
        items: Any,
        *,
        item: str = "item",
        title: str | None = "title",
        vectors: Mapping[str, NDArray[np.floating[Any]]] | None = None,
    ) -> Bundle:
        """The bundle with new items, which are recommended at once, by their content and without training.

        items: a DataFrame with a row per item. item, title: its columns of ids and titles; None for no titles. Content
        is read from the columns that the log's items had it in; where one is missing, or empty, that modality isn't
        known. vectors: by modality, (n, D) vectors that its encoder made before, rows of NaN where there is none; then
        nothing is encoded. Raises DataError on an id that is there already, and on items of which nothing is known.
        """
        table = open_frame(items, "add_items")
        frame = table.frame.collect()
        if item not in frame.columns:
            raise DataError(
                f"add_items: there is no column {item!r}; it has {listing(frame.columns)}; name the right one"
            )
        ids = frame[item].cast(self.items["item"].dtype, strict=False)
        known = self._item_ids.encode(ids) >= 0
        if ids.is_null().any() or ids.is_duplicated().any() or known.any():
            first = frame[item][
                int(np.flatnonzero(ids.is_null().to_numpy() | ids.is_duplicated().to_numpy() | known)[0])
            ]
            raise DataError(
                f"add_items: {first!r} is no new id, comes twice, or is of another type than the items' ids"
            )
        features = vectors if vectors is not None else self._encoded(table, item, Ids(ids))
        if not features or not any(np.isfinite(each).all(axis=1).any() for each in features.values()):
            needed = ", ".join(name for content in self.content.values() for name in content.modality.columns)
            raise DataError(f"add_items: nothing is known of these items; give one of the columns {needed}, or vectors")
        titles = frame[title].cast(pl.String) if title in frame.columns else ids.cast(pl.String)
        rows = pl.DataFrame({"item": ids, "title": titles.fill_null(ids.cast(pl.String))})
        return replace(self, student=self.student.extended(features, len(ids)), items=pl.concat([self.items, rows]))

    def _encoded(self, table: Table, item: str, ids: Ids) -> dict[str, NDArray[np.float32]]:
        """(n, D) vectors of each modality whose columns are there; NaN where an item has none."""
        found: dict[str, NDArray[np.float32]] = {}
        for name, content in self.content.items():
            if not set(content.modality.columns) <= set(table.columns()):
                continue
            for places, values in contents_of(table, item, content.modality, ids).blocks():
                vectors = content.encode(values)
                found.setdefault(name, np.full((len(ids), vectors.shape[1]), np.nan, np.float32))[places] = vectors
        return found

    def _places_of(self, candidates: Sequence[Any]) -> NDArray[np.int32]:
        allowed = self._item_ids.encode(candidates)
        if (allowed < 0).any():
            unknown = candidates[int(np.flatnonzero(allowed < 0)[0])]
            raise DataError(f"recommend: candidate {unknown!r} isn't an item that the student knows")
        return allowed

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the bundle, with the items that were added, into a folder, whole or not at all."""
        path = Path(folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as own:
            new = Path(own) / "new"
            for name in self.manifest.files:
                (new / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.folder / name, new / name)
            if len(self.items) > self.manifest.items:
                self._write_added(new)
            write_manifest(self.manifest.model_copy(update={"items": len(self.items)}), new)
            if path.exists():
                os.replace(path, Path(own) / "old")
            os.replace(new, path)

    def _write_added(self, folder: Path) -> None:
        """Items and their vectors, whose numbers are whole then: those of new items were never coded."""
        self.items.write_parquet(folder / ITEMS)
        state = {
            name: array
            for name, array in load_file(folder / WEIGHTS).items()
            if name.partition(":")[0] not in ("items", "bias")
        }
        state["items"] = self.student.vectors
        if self.student.bias is not None:
            state["bias"] = self.student.bias
        save_file(state, folder / WEIGHTS)
        settings = json.loads((folder / MODEL).read_text(encoding="utf-8"))
        settings["n_items"] = len(self.items)
        (folder / MODEL).write_text(json.dumps(settings, indent=2), encoding="utf-8")

    def held_out(self) -> HeldOut:
        """What an export, or a server, is asked before it answers anyone; raises ArtefactError on a damaged file."""
        path = self.folder / HELD_OUT
        frame = _frame(path, HELD_OUT_COLUMNS, None)
        history, targets, expected = (_rows(frame[name]) for name in ("history", "targets", "expected"))
        if any(len(rows.values) and not 0 <= rows.values.min() <= rows.values.max() < self.manifest.items
               for rows in (history, targets, expected)):  # fmt: skip
            raise ArtefactError(f"{path} tells of items that there aren't; export the bundle again")
        return HeldOut(Queries(frame["user"].to_numpy().astype(np.int32), history), targets, expected)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Bundle:
        """Read a bundle; raises ArtefactError on a damaged one, and on a folder that is none."""
        path = Path(folder)
        if not (path / MANIFEST).is_file():
            raise ArtefactError(f"{path} is no bundle, it has no {MANIFEST}{_where(path)}")
        manifest = read_manifest(path, (WEIGHTS, MODEL, ITEMS, USERS, HELD_OUT))
        told = manifest.student
        student = Student.load(path, told.history_length or 0, told.content)
        if (student.n_items, student.vectors.shape[1]) != (manifest.items, told.width):
            raise ArtefactError(
                f"{path / WEIGHTS} has {student.vectors.shape} item vectors, where the bundle tells of "
                f"{manifest.items} items and width {told.width}; export it again"
            )
        items = _frame(path / ITEMS, {"item": None, "title": pl.String}, manifest.items)
        users = _frame(path / USERS, {"user": None, "history": LISTS}, manifest.users)
        places = users["history"].explode().drop_nulls()
        if len(places) and not 0 <= int(places.min()) <= int(places.max()) < manifest.items:  # type: ignore[arg-type]
            raise ArtefactError(f"{path / USERS} tells of items that there aren't; export the bundle again")
        try:
            content = {
                name: ItemContent(modality, load_encoder(path / CONTENT / name))
                for name, modality in manifest.content.items()
            }
        except ValueError as error:
            raise ArtefactError(f"The content of {path} can't be read: {error}") from error
        return cls(student, items, users, manifest, path, content)


def _rows(lists: pl.Series) -> Ragged:
    values = lists.explode().drop_nulls().to_numpy().astype(np.int32)
    return Ragged.from_lengths(lists.list.len().to_numpy().astype(np.int64), values)


def _frame(path: Path, columns: Mapping[str, Any], rows: int | None) -> pl.DataFrame:
    """columns: by name, None where any type will do."""
    try:
        lazy = pl.scan_parquet(path)
        schema, found = lazy.collect_schema(), int(lazy.select(pl.len()).collect().item())  # the footer tells
        wrong = [
            name for name, dtype in columns.items() if schema.get(name) is None or dtype not in (None, schema[name])
        ]
        if wrong or (rows is not None and found != rows):
            raise ValueError(
                f"it has {found:,} rows of {', '.join(schema.names())}, not {rows} of {', '.join(columns)}"
            )
        return lazy.collect()
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        raise ArtefactError(f"{path} can't be read: {error}; export the bundle again") from error


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Queries that were held out of training.

    targets: what was to be found. expected: the ten best items that the student in PyTorch gave for each.
    """

    queries: Queries
    targets: Ragged
    expected: Ragged


@dataclass(frozen=True, eq=False)
class ItemContent:
    """A modality of the items, and what encodes it."""

    modality: Modality
    encoder: Encoder

    def encode(self, values: Sequence[Any]) -> NDArray[np.float32]:
        """(n, D) float32; DataError where a value can't be read."""
        return self.encoder.encode([self.encoder.prepare(value) for value in values])


def _check_lists(users: Any, histories: Any, candidates: Any, texts: Any) -> None:
    """Refuse a single id in the place of a list: a text would be read letter by letter."""
    for name, given in {"users": users, "candidates": candidates, "texts": texts}.items():
        if given is not None and not _is_list(given):
            raise DataError(f"recommend: {name} is {given!r}, expected a list; write {name}=[{given!r}]")
    for history in () if histories is None else histories if _is_list(histories) else [histories]:
        if not _is_list(history):
            raise DataError(
                f"recommend: {history!r} stands where histories expects a list of item ids, one for each query; "
                f"write histories=[[{history!r}]]"
            )


def _is_list(given: Any) -> bool:
    return hasattr(given, "__len__") and not isinstance(given, str)


def _where(path: Path) -> str:
    """What to do where a bundle was expected and the folder is none."""
    if (path / "bundle" / MANIFEST).is_file():
        return f"; that of this run lies in {path / 'bundle'}"
    return "; a run that is finished has one in its folder, OUT/bundle"
