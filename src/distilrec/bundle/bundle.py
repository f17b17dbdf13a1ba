"""A student with its ids, recommending in these."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from distilrec.data import Ids, Modality, categories_of, contents_of
from distilrec.data.columns import listing
from distilrec.data.files import Table, open_frame
from distilrec.encoders import Encoder, cache_home, check_encoder, read_encoder
from distilrec.encoders.places import fetch
from distilrec.errors import ArtefactError, DataError, FetchError, require
from distilrec.runtime import Served
from distilrec.runtime.manifest import CONTENT
from distilrec.scoring import Queries, Ragged

__all__ = ["Bundle", "ItemContent"]

_logger = logging.getLogger(__name__)
OWNER_NAME = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, eq=False)
class Bundle:
    """A student with its ids; it needs neither torch nor what it was trained on.

    served: what answers. content: the modalities that the student knows items by, and what encodes them.
    """

    served: Served
    content: Mapping[str, ItemContent] = field(default_factory=dict)

    def __repr__(self) -> str:
        served = self.served
        return (
            f"Bundle({served.manifest.student.model}, {len(served.items):,} items, {len(served.users):,} users, "
            f"{str(served.folder)!r})"
        )

    @property
    def items(self) -> pl.DataFrame:
        """One row per item in the student's order: `item` and `title`."""
        return pl.DataFrame({"item": self.served.items.values, "title": self.served.titles})

    @property
    def users(self) -> pl.DataFrame:
        """One row per known user, in the student's order: `user`."""
        return pl.DataFrame({"user": self.served.users.values})

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
        _check_given(users, histories, candidates, texts, k)
        if users is None and histories is None and texts is None:
            raise DataError("recommend: give users, histories, texts, or some of them together")
        if texts is not None:
            return self._for_texts(texts, users, histories, k, filter_seen, candidates)
        if users is None and not self.served.student.reads_histories:
            raise DataError(
                f"recommend: a {self.served.manifest.student.model} doesn't read histories, it knows the users of its "
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
        lists, scores = self.served.student.rank(queries, k, filter_seen=filter_seen, allowed=allowed, last=last)
        rows, places = np.nonzero(lists >= 0)
        items, name = lists[rows, places].tolist(), "user" if users is not None else "query"
        asked = pl.Series(name, users if users is not None else range(len(queries)))
        return pl.DataFrame(
            [
                asked.gather(rows),
                pl.Series("item", [self.served.items.values[item] for item in items], self._item_type),
                pl.Series("title", [self.served.titles[item] for item in items], pl.String),
                pl.Series("score", scores[rows, places]),
                pl.Series("rank", places + 1),
            ]
        )

    @property
    def _item_type(self) -> type[pl.DataType]:
        return pl.String if isinstance(self.served.items.values[0], str) else pl.Int64

    def _queries(self, users: Sequence[Any] | None, histories: Sequence[Sequence[Any]] | None) -> Queries:
        n = len(users) if users is not None else len(histories or ())
        places = np.full(n, -1, np.int32) if users is None else self.served.users.places(users)
        if histories is None:
            if users is not None and (places < 0).any():
                unknown = np.asarray(users, object)[int(np.flatnonzero(places < 0)[0])]
                advice = "; give a history with `histories=`" if self.served.student.reads_histories else ""
                raise DataError(f"recommend: user {unknown!r} isn't known{advice}")
            return Queries(places, self.served.histories[places.astype(np.int64)])
        items = self.served.items.places(item for history in histories for item in history)
        owners = np.repeat(np.arange(n), [len(history) for history in histories])
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
        if self.served.reader is not None:
            return self._answer(queries, users, k, filter_seen, candidates, self.served.read(texts))
        vectors, _ = self.content[name].encode(list(texts))
        taken = self.served.student.placed({name: vectors}, len(texts))
        return self._answer(queries, users, k, filter_seen, candidates, taken[:, : self.served.manifest.student.width])

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
        nothing is encoded. What can't be read counts as missing, and the log names it. Attributes that a server
        filters by are taken from the columns of their names. Raises DataError on an id that is there already, and on
        items of which nothing is known.
        """
        if self.served.student.tower is None:
            raise DataError(
                "add_items: this student knows items by their ids alone, so it can't take new ones; distil one whose "
                "model names content"
            )
        table = open_frame(items, "add_items")
        frame = table.frame.collect()
        if item not in frame.columns:
            raise DataError(
                f"add_items: there is no column {item!r}; it has {listing(frame.columns)}; name the right one"
            )
        ids = frame[item].cast(self._item_type, strict=False)
        faults = {
            "is of another type than the items' ids, or none": ids.is_null().to_numpy(),
            "comes twice": ids.is_duplicated().to_numpy(),
            "is there already": self.served.items.places(ids.to_list()) >= 0,
        }
        for fault, which in faults.items():
            if which.any():
                raise DataError(f"add_items: {frame[item][int(which.argmax())]!r} {fault}; give each new item an id")
        features = self._encoded(table, item, Ids(ids)) if vectors is None else _given(vectors, len(ids))
        known = np.zeros(len(ids), np.bool_)
        for each in features.values():
            known |= np.isfinite(each).all(axis=1)
        if not known.all():
            needed = ", ".join(name for content in self.content.values() for name in content.modality.columns)
            first = frame[item][int(known.argmin())]
            raise DataError(
                f"add_items: nothing is known of these items, such as {first!r}; give one of the columns {needed}, or "
                "vectors"
            )
        titles = frame[title].cast(pl.String) if title in frame.columns else ids.cast(pl.String)
        told = titles.fill_null(ids.cast(pl.String)).to_list()
        attributes = {name: categories_of(frame[name]) for name in self.served.attributes if name in frame.columns}
        return replace(self, served=self.served.extended(features, ids.to_list(), told, attributes))

    def _encoded(self, table: Table, item: str, ids: Ids) -> dict[str, NDArray[np.float32]]:
        """(n, D) vectors of each modality of which a column is there; NaN where an item has none."""
        found: dict[str, NDArray[np.float32]] = {}
        widths, there = self.served.manifest.student.content, set(table.columns())
        for name, content in self.content.items():
            absent = [column for column in content.modality.columns if column not in there]
            if len(absent) == len(content.modality.columns):
                continue
            whole = replace(table, frame=table.frame.with_columns(pl.lit(None).alias(column) for column in absent))
            found[name] = np.full((len(ids), widths[name]), np.nan, np.float32)
            for places, values in contents_of(whole, item, content.modality, ids).blocks():
                vectors, unread = content.encode(values)
                found[name][places] = vectors
                for row, why in unread.items():
                    _logger.warning(
                        "add_items: %s of %r: %s; it counts as missing", name, ids.values[int(places[row])], why
                    )
        return found

    def _places_of(self, candidates: Sequence[Any]) -> NDArray[np.int32]:
        allowed = self.served.items.places(candidates)
        if (allowed < 0).any():
            unknown = candidates[int(np.flatnonzero(allowed < 0)[0])]
            raise DataError(f"recommend: candidate {unknown!r} isn't an item that the student knows")
        return allowed

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the bundle, with the items that were added, into a folder, whole or not at all."""
        self.served.save(Path(folder))

    def push_to_hub(self, name: str, *, private: bool = True, token: str | None = None) -> str:
        """Upload the bundle to OWNER/NAME on the Hugging Face hub, or the one that HF_ENDPOINT names.

        It holds ids of users and what they took. Returns the address of the commit. Raises DataError where items were
        added and it wasn't saved since, FetchError where the hub refuses or can't be reached.
        """
        if len(self.served.items) > self.served.manifest.items:
            raise DataError("push_to_hub: items were added; save_pretrained it first, and push what that wrote")
        require("huggingface_hub", "content", "pushing a bundle to a hub")
        from huggingface_hub import HfApi

        hub = HfApi(token=token)
        try:
            hub.create_repo(name, private=private, exist_ok=True)
            return str(
                hub.upload_folder(repo_id=name, folder_path=self.served.folder, commit_message="DistilRec bundle")
            )
        except Exception as error:  # those of the hub and of the network share no other base
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise FetchError(f"{name} could not be pushed ({reason}); log in with: hf auth login") from error

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Bundle:
        """Read a bundle: a folder, or OWNER/NAME on the Hugging Face hub, which is fetched once.

        Raises ArtefactError on a damaged one, and on a folder that is none, FetchError where it can't be fetched.
        """
        if isinstance(folder, str) and not Path(folder).exists() and OWNER_NAME.fullmatch(folder):
            # Its own files, in a folder: the hub's cache would have links in their place.
            folder = fetch(folder, local_dir=cache_home() / "bundles" / folder.replace("/", "--"))
        served = Served.load(Path(folder))
        try:
            content = {
                name: ItemContent(Modality.model_validate(told), *read_encoder(served.folder / CONTENT / name))
                for name, told in served.manifest.content.items()
            }
        except ValueError as error:
            raise ArtefactError(f"The content of {folder} can't be read: {error}") from error
        return cls(served, content)


@dataclass(frozen=True, eq=False)
class ItemContent:
    """A modality of the items, and what encodes it. fingerprint: the encoder's, that the student was trained with."""

    modality: Modality
    encoder: Encoder
    fingerprint: str | None = None

    def encode(self, values: Sequence[Any]) -> tuple[NDArray[np.float32], dict[int, str]]:
        """(n, D) float32, NaN where a value can't be read, and by place why; D is 1 where none can.

        Raises ArtefactError where the encoder's model has changed.
        """
        if self.fingerprint is not None:
            check_encoder(self.encoder, self.fingerprint)
        prepared, unread = self.encoder.prepare_each(values)
        found = self.encoder.encode(list(prepared.values())) if prepared else np.empty((0, 1), np.float32)
        vectors = np.full((len(values), found.shape[1]), np.nan, np.float32)
        vectors[list(prepared)] = found
        return vectors, unread


def _given(vectors: Mapping[str, Any], n: int) -> dict[str, NDArray[np.float32]]:
    """As arrays of a row per item. Raises DataError where they are none."""
    found = {}
    for name, given in vectors.items():
        try:
            found[name] = np.asarray(given, np.float32)
        except (TypeError, ValueError) as error:
            raise DataError(f"add_items: vectors[{name!r}] are no rows of numbers of one length: {error}") from error
        if found[name].ndim != 2 or len(found[name]) != n:
            raise DataError(
                f"add_items: vectors[{name!r}] have the shape {found[name].shape}; give a row for each of the {n} items"
            )
    return found


def _check_given(users: Any, histories: Any, candidates: Any, texts: Any, k: Any) -> None:
    """Refuse what isn't of its kind: a text in the place of a list would be read letter by letter."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise DataError(f"recommend: k is {k!r}; give a whole number from 1 on")
    for name, given in {"users": users, "candidates": candidates, "texts": texts}.items():
        if given is not None and not _is_list(given):
            raise DataError(f"recommend: {name} is {given!r}, expected a list; write {name}=[{given!r}]")
    for text in () if texts is None else texts:
        if not isinstance(text, str):
            raise DataError(f"recommend: {text!r} stands among the texts; give words for each query")
    for history in () if histories is None else histories if _is_list(histories) else [histories]:
        if not _is_list(history):
            raise DataError(
                f"recommend: {history!r} stands where histories expects a list of item ids, one for each query; "
                f"write histories=[[{history!r}]]"
            )


def _is_list(given: Any) -> bool:
    return hasattr(given, "__len__") and not isinstance(given, str)
