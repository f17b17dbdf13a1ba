"""A data set in numbers."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from distilrec.data.content import Contents, ModalityKind
from distilrec.data.interactions import Dataset

__all__ = ["Coverage", "Description", "describe"]

_QUANTILES = {"min": 0.0, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95, "max": 1.0}


class Coverage(BaseModel):
    """The share of items that have a modality, and of interactions that are with such items.

    knows_later: as the modality was declared.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ModalityKind
    items: float
    interactions: float
    knows_later: bool


class Description(BaseModel):
    """What `distilrec data describe` shows.

    density: interactions / (users x items). times: first and last, in the log's own unit, and as dates where
    they look like seconds or microseconds since 1970. history_lengths: quantiles over users.
    popularity_gini: 0 where all items are equally popular, towards 1 where few have all. head_share: the
    share of interactions that the most popular 1 % of items have (at least one item). attributes: for each
    column of the items, the share of items that have a value. content: the coverage of each modality.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    fingerprint: str
    users: int
    items: int
    interactions: int
    negatives: int
    density: float
    times: tuple[int, int] | None
    dates: tuple[str, str] | None
    history_lengths: dict[str, float]
    popularity_gini: float
    head_share: float
    attributes: dict[str, float]
    content: dict[str, Coverage]
    notes: tuple[str, ...]


def describe(dataset: Dataset) -> Description:
    """Count what a data set holds.

    >>> from distilrec.data.synthetic import cycles
    >>> summary = describe(cycles(n_users=16, n_items=16, length=4))
    >>> summary.users, summary.interactions, summary.density, summary.history_lengths["median"]
    (16, 64, 0.25, 4.0)
    """
    log = dataset.interactions
    counts = log.item_counts()
    times = None
    if log.times is not None and len(log):
        own = log.times[log.flat()[1]]
        times = int(own.min()), int(own.max())
    return Description(
        name=dataset.name,
        fingerprint=dataset.fingerprint,
        users=log.n_users,
        items=log.n_items,
        interactions=len(log),
        negatives=0 if dataset.negatives is None else len(dataset.negatives),
        density=len(log) / max(1, log.n_users * log.n_items),
        times=times,
        dates=None if times is None else _dates(*times),
        history_lengths=_quantiles(log.histories.lengths),
        popularity_gini=gini(counts),
        head_share=_head_share(counts),
        attributes={} if dataset.items is None else _coverage(dataset.items),
        content={name: _covered(contents, counts) for name, contents in dataset.contents.items()},
        notes=dataset.notes,
    )


def _covered(contents: Contents, counts: NDArray[np.int64]) -> Coverage:
    return Coverage(
        kind=contents.modality.kind,
        items=float(contents.known.mean()),
        interactions=float(counts[contents.known].sum() / max(1, counts.sum())),
        knows_later=contents.modality.knows_later,
    )


def gini(counts: NDArray[np.int64]) -> float:
    """The Gini coefficient of counts (N,): sum_i (2 i - N - 1) c_i / (N sum c), c ascending, i from 1.

    >>> gini(np.array([3, 3])), gini(np.array([0, 0, 0, 8]))
    (0.0, 0.75)
    """
    total, n = int(counts.sum()), len(counts)
    if total == 0:
        return 0.0
    return float((2 * np.arange(1, n + 1) - n - 1) @ np.sort(counts) / (n * total))


def _head_share(counts: NDArray[np.int64]) -> float:
    head = max(1, len(counts) // 100)
    return float(np.sort(counts)[-head:].sum() / max(1, counts.sum()))


def _quantiles(lengths: NDArray[np.int64]) -> dict[str, float]:
    if len(lengths) == 0:
        return dict.fromkeys(_QUANTILES, 0.0)
    return {name: float(np.quantile(lengths, level)) for name, level in _QUANTILES.items()}


def _dates(first: int, last: int) -> tuple[str, str] | None:
    for size in (1, 1_000_000):
        if 631_152_000 * size <= first and last <= 4_102_444_800 * size:  # 1990 to 2100
            begin, end = (datetime.fromtimestamp(moment / size, UTC).date().isoformat() for moment in (first, last))
            return begin, end
    return None


def _coverage(items: pl.DataFrame) -> dict[str, float]:
    return {name: _filled(items[name]) for name in items.columns if name != "item"}


def _filled(values: pl.Series) -> float:
    if len(values) == 0:
        return 0.0
    filled = values.is_not_null()
    if values.dtype == pl.String:
        filled &= values.str.len_bytes().fill_null(0) > 0
    elif isinstance(values.dtype, pl.List):
        filled &= values.list.len().fill_null(0) > 0
        if values.dtype.inner.is_float():  # as encoders read it: a vector with a gap is none
            filled &= values.list.eval(pl.element().is_finite().fill_null(False)).list.all().fill_null(False)
    elif values.dtype.is_float():
        filled &= values.is_finite().fill_null(False)
    return float(filled.sum()) / len(values)
