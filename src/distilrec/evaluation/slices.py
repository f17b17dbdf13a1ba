"""Where the quality lies: per-query values by group of queries, for all arms at once.

All functions take values: arm name -> (Q,) per-query values of one metric (seeds averaged), finite, and leave
out groups without queries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilrec.scoring import Ragged

__all__ = ["Bin", "by_history_length", "by_target_popularity", "popularity_groups"]

GROUPS = ("head", "middle", "tail")


@dataclass(frozen=True, slots=True)
class Bin:
    """A group of queries: what to call it, how many they are, and each arm's mean over them."""

    label: str
    count: int
    values: dict[str, float]


def by_history_length(
    values: Mapping[str, NDArray[np.floating[Any]]], lengths: NDArray[np.integer[Any]], n_bins: int = 4
) -> list[Bin]:
    """Cut the queries into groups of about equal size by the length of their history, shortest first.

    lengths: (Q,) items per history. n_bins: at least 1; fewer come back where many lengths are equal. A label
    gives the shortest and longest history of the group.

    >>> by_history_length({"a": np.array([0.0, 1.0, 1.0, 0.0])}, np.array([1, 2, 5, 9]), n_bins=2)
    [Bin(label='1–2', count=2, values={'a': 0.5}), Bin(label='5–9', count=2, values={'a': 0.5})]
    """
    edges = np.unique(np.quantile(lengths, np.arange(1, n_bins) / n_bins, method="inverted_cdf"))
    groups = np.searchsorted(edges, lengths)
    labels = []
    for group in range(len(edges) + 1):
        inside = lengths[groups == group]
        low, high = (int(inside.min()), int(inside.max())) if len(inside) > 0 else (0, 0)
        labels.append(str(low) if low == high else f"{low}–{high}")
    return _bins(values, groups, labels)


def by_target_popularity(
    values: Mapping[str, NDArray[np.floating[Any]]], targets: Ragged, item_counts: NDArray[np.integer[Any]]
) -> list[Bin]:
    """Cut the queries by the popularity of the items to be found: head, middle, tail (see popularity_groups).

    A query with several targets belongs where most of them do; of equally many, to the more popular group.
    targets: Q rows of items; a query without targets belongs to no group. item_counts: (N,) in training.

    >>> targets = Ragged.from_rows([[0], [1, 2, 3]])
    >>> by_target_popularity({"a": np.array([1.0, 0.0])}, targets, np.array([6, 4, 1, 1]))
    [Bin(label='head', count=1, values={'a': 1.0}), Bin(label='tail', count=1, values={'a': 0.0})]
    """
    rows, items = targets.flat()
    cells = rows * len(GROUPS) + popularity_groups(item_counts)[items]
    counts = np.bincount(cells, minlength=len(targets) * len(GROUPS)).reshape(-1, len(GROUPS))
    groups = np.where(counts.any(axis=1), counts.argmax(axis=1), -1)
    return _bins(values, groups, GROUPS)


def popularity_groups(item_counts: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """(N,) int64: 0 head, 1 middle, 2 tail, each with about a third of the interactions.

    Items are taken from the most popular on, the smaller index first among equals; an item belongs to the
    third in which it begins, and one without interactions to the tail.

    >>> popularity_groups(np.array([6, 4, 1, 1, 0]))
    array([0, 1, 2, 2, 2])
    """
    order = np.argsort(-item_counts, kind="stable")
    sorted_counts = item_counts[order]
    before = np.cumsum(sorted_counts) - sorted_counts
    groups = np.empty(len(item_counts), dtype=np.int64)
    groups[order] = np.minimum(len(GROUPS) * before // max(1, item_counts.sum()), len(GROUPS) - 1)
    groups[item_counts == 0] = len(GROUPS) - 1
    return groups


def _bins(
    values: Mapping[str, NDArray[np.floating[Any]]],
    groups: NDArray[np.int64],
    labels: tuple[str, ...] | list[str],
) -> list[Bin]:
    for arm, per_query in values.items():
        if per_query.shape != groups.shape:
            raise ValueError(
                f"slices: expected one value for each of the {len(groups)} queries, given shape "
                f"{per_query.shape} for {arm!r}"
            )
    members = [(label, groups == group) for group, label in enumerate(labels)]
    return [
        Bin(label, int(inside.sum()), {arm: float(v[inside].mean()) for arm, v in values.items()})
        for label, inside in members
        if inside.any()
    ]
