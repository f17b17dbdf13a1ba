"""Altered soft labels: what a student would learn from a teacher that knows nothing, or less."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distilrec.rng import generator
from distilrec.soft_labels import SoftBatch, SoftLabels

__all__ = ["HardPositives", "ShuffledLabels"]


class ShuffledLabels(SoftLabels):
    """The same soft labels, each given to another query: keeps what they say in general, and nothing else.

    What an item is like is told of another item, too, else methods that copy vectors would learn what is true of each.
    Scores stay those of the items, for another query, as lists do.
    """

    def __init__(self, labels: SoftLabels, seed: int) -> None:
        super().__init__(labels.path, labels.manifest)
        self._order = generator(seed, "shuffled labels").permutation(len(labels))
        self._items = generator(seed, "shuffled items").permutation(labels.manifest.n_items)

    @cached_property
    def item_features(self) -> NDArray[np.float32]:
        """(N, D) float32: those of another item."""
        return self.item_vectors[self._items]

    def rows(self, query_ids: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """The row of another query."""
        rows = super().rows(query_ids)
        return np.where(rows < 0, -1, self._order[rows])


class HardPositives(SoftLabels):
    """The teacher's `k` best items as so many equal positives, without scores; for `kl`.

    Lists keep their order, and scores and vectors of items are the teacher's: other methods would learn from these.
    """

    def __init__(self, labels: SoftLabels, k: int = 10) -> None:
        super().__init__(labels.path, labels.manifest)
        self._k = k

    def batch(self, rows: NDArray[np.int64]) -> SoftBatch:
        """Equal scores for the first k, none for the others and none for the tail."""
        batch = super().batch(rows)
        best = batch.scores.masked_fill(~batch.mask, -torch.inf).topk(min(self._k, batch.scores.shape[1]), dim=1)
        mask = torch.zeros_like(batch.mask).scatter(1, best.indices, True) & batch.mask
        counts = mask.sum(1, keepdim=True).clamp(min=1).float().log()
        return dataclasses.replace(
            batch,
            scores=torch.zeros_like(batch.scores),
            mask=mask,
            log_sum_exp=counts.expand_as(batch.log_sum_exp),
            tail_mask=torch.zeros_like(batch.tail_mask),
        )
