"""What a run knew of its data, so that a later run keeps its numbering and knows what is new."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from distilrec.data.interactions import Ids, Interactions
from distilrec.data.split_kinds import UNUSED
from distilrec.data.splits import Split
from distilrec.errors import ArtefactError, DataError

if TYPE_CHECKING:
    from distilrec.data.load import Prepared

__all__ = ["Snapshot"]

USERS, ITEMS, LOG = "users.parquet", "items.parquet", "log.parquet"
Parts: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The ids of a run in the order of their places, and its log.

    log: one row per interaction, with `user` and `item` (places, int32), `time` (where the log had times), `liked`
    (bool) and `part` (uint8, as in `Split`).

    >>> from distilrec.data import Columns, from_dataframe
    >>> frame = pl.DataFrame({"user": ["a"] * 4, "item": [5, 6, 7, 8], "time": [1, 2, 3, 4]})
    >>> columns = Columns(user="user", item="item", time="time")
    >>> yesterday = Snapshot.of(from_dataframe(frame[:3], columns))
    >>> yesterday.parts(from_dataframe(frame, columns).dataset.interactions, liked=True)  # 3: it is new
    array([0, 1, 2, 3], dtype=uint8)
    """

    user_ids: Ids
    item_ids: Ids
    log: pl.DataFrame

    @classmethod
    def of(cls, prepared: Prepared) -> Snapshot:
        """The snapshot of prepared data."""
        negatives, dataset = prepared.negatives_split, prepared.dataset
        logs = [_rows(prepared.split, liked=True)] + ([] if negatives is None else [_rows(negatives, liked=False)])
        return cls(dataset.user_ids, dataset.item_ids, pl.concat(logs))

    def parts(self, log: Interactions, *, liked: bool, by_time: bool = True) -> Parts:
        """(M,) uint8 parallel to the log's values: the part of each interaction in the snapshot, 3 where it is new.

        log: with the snapshot's users and items in the same places. Interactions are the same where user, item and
        time are; the n-th of equal ones is the n-th of them again. Times don't count where either log has none, and not
        without by_time, such as where the last of several times is kept. Raises DataError where nothing that was liked
        is found again: then the two logs don't write the same things alike.
        """
        rows = _columns(log)
        known = self.log.filter(pl.col("liked") == liked)
        names = ("user", "item", "time") if by_time else ("user", "item")
        on: list[str] = [name for name in names if name in rows.columns and name in known.columns]
        rows, known = _numbered(rows.select(on), on), _numbered(known.select(*on, "part"), on)
        found = rows.join(known, on=[*on, "nth"], how="left", maintain_order="left")["part"]
        if liked and len(known) and found.null_count() == len(found):
            raise DataError(
                f"none of the earlier run's {len(known):,} interactions is found again by {', '.join(on)}; give the "
                "whole log, with ids and times written as they were"
            )
        parts = np.full(len(log.histories.values), UNUSED, dtype=np.uint8)
        parts[log.flat()[1]] = found.fill_null(UNUSED).to_numpy()
        return parts

    def save(self, folder: Path) -> None:
        """Write the snapshot into `folder`, each file whole or not at all."""
        ids = {USERS: pl.DataFrame({"user": self.user_ids.values}), ITEMS: pl.DataFrame({"item": self.item_ids.values})}
        for name, frame in {**ids, LOG: self.log}.items():
            partial = folder / f"{name}.partial"
            frame.write_parquet(partial)
            os.replace(partial, folder / name)

    @classmethod
    def open(cls, folder: Path) -> Snapshot:
        """Read what `save` wrote; ArtefactError where it is missing or damaged."""
        try:
            users, items, log = (pl.read_parquet(folder / name) for name in (USERS, ITEMS, LOG))
            if missing := {"user", "item", "liked", "part"} - set(log.columns):
                raise ValueError(f"{LOG} has no {sorted(missing)}")
            return cls(Ids(users["user"]), Ids(items["item"]), log)
        except (OSError, ValueError, pl.exceptions.PolarsError) as error:
            raise ArtefactError(
                f"The data of the earlier run in {folder} can't be read: {error}; run it again"
            ) from error


def _rows(split: Split, *, liked: bool) -> pl.DataFrame:
    part = split.part[split.log.flat()[1]]
    return _columns(split.log).with_columns(pl.lit(liked).alias("liked"), pl.Series("part", part))


def _columns(log: Interactions) -> pl.DataFrame:
    users, positions = log.flat()
    columns = {"user": users.astype(np.int32), "item": log.histories.values[positions]}
    return pl.DataFrame(columns if log.times is None else {**columns, "time": log.times[positions]})


def _numbered(rows: pl.DataFrame, on: list[str]) -> pl.DataFrame:
    """With `nth`, which tells equal rows apart by their order."""
    return rows.with_columns(pl.int_range(pl.len()).over(on).alias("nth"))
