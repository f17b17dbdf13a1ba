"""A prepared log as a table, in the user's own ids."""

from __future__ import annotations

import polars as pl

from distilrec.data.interactions import Dataset
from distilrec.data.load import Prepared
from distilrec.data.split_kinds import PART_CODES
from distilrec.data.splits import Split

__all__ = ["to_table"]

_NAMES = {code: name for name, code in reversed(PART_CODES.items())}


def to_table(prepared: Prepared, *, parts: bool = False) -> pl.DataFrame:
    """All interactions by user and in order of time: user, item, and time, rating and weight where the log had them.

    Where it tells of dislikes, `label` is 0 for these, else 1. parts: whether `part` is to say which each belongs to.

    >>> from distilrec.data import Columns, from_dataframe
    >>> frame = pl.DataFrame({"user": ["b", "a"], "item": [5, 7], "time": [2, 1]})
    >>> to_table(from_dataframe(frame, Columns(user="user", item="item", time="time"))).rows()
    [('a', 7, 1), ('b', 5, 2)]
    """
    dataset, disliked = prepared.dataset, prepared.negatives_split
    frames = [_rows(dataset, prepared.split, None if disliked is None else 1, parts)]
    if disliked is not None:
        frames.append(_rows(dataset, disliked, 0, parts))
    order = ["place", *(["time"] if "time" in frames[0].columns else [])]
    return pl.concat(frames, how="diagonal").sort(order, maintain_order=True).drop("place")


def _rows(dataset: Dataset, cut: Split, label: int | None, parts: bool) -> pl.DataFrame:
    log, (users, positions) = cut.log, cut.log.flat()
    columns = {
        "place": pl.Series(users),
        "user": dataset.user_ids.decode(users),
        "item": dataset.item_ids.decode(log.histories.values[positions]),
    }
    for name, values in (("time", log.times), ("rating", log.ratings), ("weight", log.weights)):
        if values is not None:
            columns[name] = pl.Series(values[positions])
    if label is not None:
        columns["label"] = pl.Series([label], dtype=pl.Int8).new_from_index(0, len(users))
    if parts:
        names = pl.Series(cut.part[positions])
        columns["part"] = names.replace_strict(_NAMES, default="", return_dtype=pl.String)
    return pl.DataFrame(columns)
