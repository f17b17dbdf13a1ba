"""Groups of items of like popularity, and the teacher's best items within each, built once from a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distilrec.data import Interactions, seen_at
from distilrec.ranking import queries_at_once, top_k
from distilrec.soft_labels import SoftLabels

__all__ = ["Groups", "group_lists", "popularity_groups", "shares"]

Array = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Groups:
    """Items by falling popularity, those that nobody took left out, and where each group of them begins."""

    order: Array
    begins: Array

    def slices(self) -> Iterator[slice]:
        """The part of `order` of each group."""
        return (slice(a, b) for a, b in zip(self.begins, [*self.begins[1:], len(self.order)], strict=True))


def popularity_groups(counts: Array, n: int) -> Groups:
    """At most n groups with about as many interactions each; counts: (N,) int64, of each item, not all 0.

    Fewer where an item alone has more than a group's.

    >>> groups = popularity_groups(np.array([1, 4, 0, 2, 1]), 2)
    >>> [groups.order[part].tolist() for part in groups.slices()]
    [[1], [3, 0, 4]]
    """
    order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    before = counts[order].cumsum() - counts[order]
    return Groups(order, np.unique(n * before // counts.sum(), return_index=True)[1])


def shares(counts: Array, groups: Groups, pairs: int, debias: float) -> Array:
    """How many of so many pairs each group gets: in proportion to ratio^debias.

    The ratio is the highest plus the lowest mean count of all groups less the group's own, as a share of the sum of
    these, and 0.1 at least.

    >>> counts = np.array([8, 2, 2, 2, 2])
    >>> [shares(counts, popularity_groups(counts, 2), 10, debias).tolist() for debias in (0.0, 1.0)]
    [[5, 5], [2, 8]]
    """
    means = np.array([counts[groups.order[part]].mean() for part in groups.slices()])
    ratios = means.max() + means.min() - means
    parts = np.maximum(ratios / ratios.sum(), 0.1) ** debias
    ends: Array = np.rint(pairs * parts.cumsum() / parts.sum()).astype(np.int64)
    return np.diff(ends, prepend=0)


def group_lists(labels: SoftLabels, log: Interactions, groups: Groups, pool: int) -> NDArray[np.int32]:
    """(R, groups, pool): of each row of the store its best items of each group, -1 where there are no more.

    What the row's query has seen in `log` is left out. Needs a store of kind `factored` or `full`.
    """
    parts, scorer = list(groups.slices()), _scorer(labels, groups.order)
    places = np.full(labels.manifest.n_items, -1)
    places[groups.order] = np.arange(len(groups.order))
    lists = np.full((len(labels), len(parts), pool), -1, np.int32)
    size = queries_at_once(len(groups.order))
    for begin in range(0, len(labels), size):
        rows = np.arange(begin, min(begin + size, len(labels)))
        scores = _mask_seen(scorer(rows), seen_at(log, labels.query_ids[rows]).flat(), places)
        for group, part in enumerate(parts):
            values, best = top_k(scores[:, part], min(pool, part.stop - part.start))
            items = np.where(values.isfinite().numpy(), groups.order[part][best.numpy()], -1)
            lists[rows, group, : items.shape[1]] = items
    return lists


def _scorer(labels: SoftLabels, order: Array) -> Callable[[Array], Tensor]:
    """Gives the teacher's scores (B, len(order)) of items in this order for rows (B,) of the store."""
    if labels.manifest.kind == "full":
        return lambda rows: labels.scores(rows, np.broadcast_to(order, (len(rows), len(order))))
    vectors, bias = (torch.from_numpy(array[order]) for array in (labels.item_vectors, labels.item_bias))

    def score(rows: Array) -> Tensor:
        return torch.addmm(bias, torch.from_numpy(labels.arrays(rows)["hidden"].astype(np.float32)), vectors.T)

    return score


def _mask_seen(scores: Tensor, seen: tuple[Array, NDArray[np.int32]], places: Array) -> Tensor:
    """The scores, overwritten by -inf in the places of rows and items seen."""
    owners, items = seen
    known = items < len(places)
    owners, columns = owners[known], places[items[known]]
    keys = (owners * scores.shape[1] + columns)[columns >= 0]
    scores.view(-1).index_fill_(0, torch.from_numpy(keys), -torch.inf)
    return scores
