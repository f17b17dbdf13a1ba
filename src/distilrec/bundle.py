"""A student with everything that it needs to recommend in the user's own ids: one folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from distilrec.data import Ids, Prepared
from distilrec.errors import ArtefactError, DataError
from distilrec.models import Model, Precision, load_model, save_model
from distilrec.ranking import rank
from distilrec.scoring import Queries, Ragged

__all__ = ["Bundle"]

ITEMS, USERS, CARD = "items.parquet", "users.parquet", "bundle.json"


@dataclass(frozen=True, eq=False)
class Bundle:
    """A model with its ids.

    items: one row per item in the model's order: `item`, and `title` where known. users: `user`, and `history`, the
    item places that the user has taken (list of int32), in the model's order.
    """

    model: Model
    items: pl.DataFrame
    users: pl.DataFrame

    @classmethod
    def of(cls, model: Model, prepared: Prepared) -> Bundle:
        """Bundle a model with the ids of its data, and with all that each user took: test items are history now."""
        dataset, histories = prepared.dataset, prepared.split.log.histories
        items = pl.DataFrame({"item": dataset.item_ids.values, "title": dataset.titles(np.arange(model.n_items))})
        rows = pl.DataFrame(dict(zip(("row", "item"), histories.flat(), strict=True)))
        taken = rows.group_by("row", maintain_order=True).agg(pl.col("item").alias("history"))
        users = pl.DataFrame({"user": dataset.user_ids.values}).with_row_index("row").cast({"row": pl.Int64})
        users = users.join(taken, on="row", how="left", maintain_order="left").drop("row")
        return cls(model, items, users.with_columns(pl.col("history").fill_null([])))

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
        k: int = 10,
        filter_seen: bool = True,
        candidates: Sequence[Any] | None = None,
    ) -> pl.DataFrame:
        """The k best items of each query, as a frame with the columns user (or query), item, title, score, rank.

        users: their own ids; known ones are answered from their history. histories: item ids, oldest first, one
        list per query; alone they serve anyone at once, with `users` they go before what is known of them.
        Items that the model doesn't know are left out of a history. candidates: rank these items only.
        Raises DataError on unknown users without a history, on histories alone where the model knows users only, on
        candidates that no one knows, and on anything else than a list where one is expected.
        """
        _check_lists(users, histories, candidates)
        if users is None and histories is None:
            raise DataError("recommend: give users, histories, or both")
        if users is None and not self.model.reads_histories:
            raise DataError(
                f"recommend: a {type(self.model).__name__} doesn't read histories, it knows the users of its training "
                "log; give users, or distil a student that reads them (history_encoder, sasrec)"
            )
        if users is not None and histories is not None and len(users) != len(histories):
            raise DataError(f"recommend: {len(users)} users but {len(histories)} histories; give one for each")
        queries = self._queries(users, histories)
        lists, scores = self._rank(queries, k, filter_seen, candidates)
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

    def _rank(
        self, queries: Queries, k: int, filter_seen: bool, candidates: Sequence[Any] | None
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        if candidates is None:
            return rank(self.model, queries, k, filter_seen=filter_seen)
        allowed = self._item_ids.encode(candidates)
        if (allowed < 0).any():
            unknown = candidates[int(np.flatnonzero(allowed < 0)[0])]
            raise DataError(f"recommend: candidate {unknown!r} isn't an item that the student knows")
        return rank(_Restricted(self.model, allowed), queries, k, filter_seen=filter_seen)

    def save_pretrained(self, folder: str | Path, *, precision: Precision = "float32") -> None:
        """Write the bundle into a folder."""
        path = Path(folder)
        size = save_model(self.model, path, precision)
        for name, frame in ((ITEMS, self.items), (USERS, self.users)):
            partial = path / f"{name}.partial"
            frame.write_parquet(partial)
            os.replace(partial, path / name)
        card = {"format": 1, "items": len(self.items), "users": len(self.users), "weights_bytes": size}
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
        except (OSError, ValueError, pl.exceptions.PolarsError) as error:
            raise ArtefactError(f"The bundle in {path} can't be read: {error}; export it again") from error
        if card.get("format") != 1 or len(items) != model.n_items:
            raise ArtefactError(
                f"The bundle in {path} doesn't fit together: format {card.get('format')}, {len(items)} items, "
                f"a model of {model.n_items}; export it again"
            )
        return cls(model, items, users)


def _check_lists(users: Any, histories: Any, candidates: Any) -> None:
    """Refuse a single id in the place of a list: a text would be read letter by letter."""
    for name, given in {"users": users, "candidates": candidates}.items():
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


@dataclass(frozen=True)
class _Restricted:
    """A model that rules out all but some items."""

    model: Model
    allowed: NDArray[np.int32]

    @property
    def n_items(self) -> int:
        return self.model.n_items

    @property
    def scores_are_logits(self) -> bool:
        return self.model.scores_are_logits

    def score(self, queries: Queries) -> torch.Tensor:
        scores = self.model.score(queries)
        allowed = torch.from_numpy(self.allowed).long().to(scores.device)
        return torch.full_like(scores, -torch.inf).index_copy_(1, allowed, scores[:, allowed])
