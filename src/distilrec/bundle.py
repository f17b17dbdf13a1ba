"""A student with everything that it needs to recommend in the user's own ids: one folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from distilrec.data import Ids, Modality, Prepared, contents_of
from distilrec.data.columns import listing
from distilrec.data.files import Table, open_frame
from distilrec.encoders import Encoder, load_encoder, save_encoder
from distilrec.errors import ArtefactError, DataError
from distilrec.models import Model, Precision, SequenceModel, load_model, save_model
from distilrec.ranking import Restricted, rank
from distilrec.scoring import Queries, Ragged

__all__ = ["Bundle"]

ITEMS, USERS, CARD, CONTENT = "items.parquet", "users.parquet", "bundle.json", "content"


@dataclass(frozen=True, eq=False)
class Bundle:
    """A model with its ids.

    items: one row per item in the model's order: `item`, and `title` where known. users: `user`, and `history`, the
    item places that the user has taken (list of int32), in the model's order. content: the modalities that the model
    knows items by, and what encodes them.
    """

    model: Model
    items: pl.DataFrame
    users: pl.DataFrame
    content: Mapping[str, ItemContent] = field(default_factory=dict)

    @classmethod
    def of(cls, model: Model, prepared: Prepared, encoders: Mapping[str, Encoder] | None = None) -> Bundle:
        """Bundle a model with the ids of its data, and with all that each user took: test items are history now.

        encoders: of the modalities that the model knows items by, so that it takes new items.
        """
        dataset, histories = prepared.dataset, prepared.split.log.histories
        items = pl.DataFrame({"item": dataset.item_ids.values, "title": dataset.titles(np.arange(model.n_items))})
        rows = pl.DataFrame(dict(zip(("row", "item"), histories.flat(), strict=True)))
        taken = rows.group_by("row", maintain_order=True).agg(pl.col("item").alias("history"))
        users = pl.DataFrame({"user": dataset.user_ids.values}).with_row_index("row").cast({"row": pl.Int64})
        users = users.join(taken, on="row", how="left", maintain_order="left").drop("row")
        content = {
            name: ItemContent(dataset.contents[name].modality, encoder) for name, encoder in (encoders or {}).items()
        }
        return cls(model, items, users.with_columns(pl.col("history").fill_null([])), content)

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
        if users is None and not self.model.reads_histories:
            raise DataError(
                f"recommend: a {type(self.model).__name__} doesn't read histories, it knows the users of its training "
                "log; give users, or distil a student that reads them (history_encoder, sasrec)"
            )
        if users is not None and histories is not None and len(users) != len(histories):
            raise DataError(f"recommend: {len(users)} users but {len(histories)} histories; give one for each")
        queries = self._queries(users, histories)
        return self._answer(queries, users, *self._rank(queries, k, filter_seen, candidates))

    def _answer(
        self,
        queries: Queries,
        users: Sequence[Any] | None,
        lists: NDArray[np.int32],
        scores: NDArray[np.float32],
    ) -> pl.DataFrame:
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
                advice = "; give a history with `histories=`" if self.model.reads_histories else ""
                raise DataError(f"recommend: user {unknown!r} isn't known{advice}")
            known = self.users["history"].gather(places.astype(np.int64))
            lengths = known.list.len().to_numpy().astype(np.int64)
            values = known.explode().drop_nulls().to_numpy().astype(np.int32)
            return Queries(places, Ragged.from_lengths(lengths, values))
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
        if name is None or not isinstance(self.model, SequenceModel):
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
        searched = self.model.extended({name: self.content[name].encode(list(texts))}, len(texts))
        known = queries.histories.flat()[1]
        lengths = queries.histories.lengths
        values = np.insert(known, np.cumsum(lengths), self.model.n_items + np.arange(len(texts), dtype=np.int32))
        read = Queries(queries.users, Ragged.from_lengths(lengths + 1, values), queries.masked)
        allowed = np.arange(self.model.n_items) if candidates is None else self._places_of(candidates)
        return self._answer(read, users, *rank(Restricted(searched, allowed), read, k, filter_seen=filter_seen))

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
        if not isinstance(self.model, SequenceModel):
            raise DataError(f"add_items: a {type(self.model).__name__} doesn't know items by their content")
        features = vectors if vectors is not None else self._encoded(table, item, Ids(ids))
        if not features or not any(np.isfinite(each).all(axis=1).any() for each in features.values()):
            needed = ", ".join(name for content in self.content.values() for name in content.modality.columns)
            raise DataError(f"add_items: nothing is known of these items; give one of the columns {needed}, or vectors")
        titles = frame[title].cast(pl.String) if title in frame.columns else ids.cast(pl.String)
        rows = pl.DataFrame({"item": ids, "title": titles.fill_null(ids.cast(pl.String))})
        return replace(self, model=self.model.extended(features, len(ids)), items=pl.concat([self.items, rows]))

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

    def _rank(
        self, queries: Queries, k: int, filter_seen: bool, candidates: Sequence[Any] | None
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        if candidates is None:
            return rank(self.model, queries, k, filter_seen=filter_seen)
        return rank(Restricted(self.model, self._places_of(candidates)), queries, k, filter_seen=filter_seen)

    def _places_of(self, candidates: Sequence[Any]) -> NDArray[np.int32]:
        allowed = self._item_ids.encode(candidates)
        if (allowed < 0).any():
            unknown = candidates[int(np.flatnonzero(allowed < 0)[0])]
            raise DataError(f"recommend: candidate {unknown!r} isn't an item that the student knows")
        return allowed

    def save_pretrained(self, folder: str | Path, *, precision: Precision = "float32") -> None:
        """Write the bundle into a folder."""
        path = Path(folder)
        size = save_model(self.model, path, precision)
        for name, frame in ((ITEMS, self.items), (USERS, self.users)):
            partial = path / f"{name}.partial"
            frame.write_parquet(partial)
            os.replace(partial, path / name)
        content = {name: each.modality.model_dump(mode="json") for name, each in self.content.items()}
        for name, each in self.content.items():
            (path / CONTENT / name).mkdir(parents=True, exist_ok=True)
            save_encoder(each.encoder, path / CONTENT / name)
        card = {
            "format": 1,
            "content": content,
            "items": len(self.items),
            "users": len(self.users),
            "weights_bytes": size,
        }
        partial = path / f"{CARD}.partial"
        partial.write_text(json.dumps(card, indent=2), encoding="utf-8")
        os.replace(partial, path / CARD)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Bundle:
        """Read a bundle; raises ArtefactError on a damaged one, and on a folder that is none."""
        path = Path(folder)
        if not (path / CARD).is_file():
            raise ArtefactError(f"{path} is no bundle, it has no {CARD}{_where(path)}")
        model = load_model(path)
        try:
            card: Mapping[str, Any] = json.loads((path / CARD).read_text(encoding="utf-8"))
            items, users = pl.read_parquet(path / ITEMS), pl.read_parquet(path / USERS)
            content = {
                name: ItemContent(Modality.model_validate(each), load_encoder(path / CONTENT / name))
                for name, each in card.get("content", {}).items()
            }
        except (OSError, ValueError, pl.exceptions.PolarsError) as error:
            raise ArtefactError(f"The bundle in {path} can't be read: {error}; export it again") from error
        if card.get("format") != 1 or len(items) != model.n_items:
            raise ArtefactError(
                f"The bundle in {path} doesn't fit together: format {card.get('format')}, {len(items)} items, "
                f"a model of {model.n_items}; export it again"
            )
        return cls(model, items, users, content)


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
    if (path / "bundle" / CARD).is_file():
        return f"; that of this run lies in {path / 'bundle'}"
    return "; a run that is finished has one in its folder, OUT/bundle"
