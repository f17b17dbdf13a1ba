"""Chance, for comparison."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distilrec.data import Interactions
from distilrec.models.base import ClosedForm, ModelConfig
from distilrec.scoring import Queries

__all__ = ["Random", "RandomConfig"]


class RandomConfig(ModelConfig):
    """seed: another one gives every user another order."""

    model: Literal["random"] = "random"
    seed: int = 0


class Random(ClosedForm):
    """A score in [0, 1) for each user and item that says nothing, the same each time.

    Mixed by the finaliser of SplitMix64, Steele, Lea and Flood, OOPSLA 2014.
    """

    reads_histories = False

    def __init__(self, config: RandomConfig, n_users: int, n_items: int) -> None:
        super().__init__(n_users, n_items)
        self.config = config

    def fit(self, train: Interactions) -> None:
        """There is nothing to learn."""

    def score(self, queries: Queries) -> Tensor:
        """(B, N) float32."""
        users = (queries.users.astype(np.int64) + 1_000_003 * self.config.seed).astype(np.uint64)
        mixed = _mix(np.add.outer(_mix(users), np.arange(self.n_items, dtype=np.uint64)))
        return torch.from_numpy((mixed >> np.uint64(40)).astype(np.float32) / np.float32(2**24))

    def flops(self, query: Queries) -> int:
        """None that count."""
        return 0


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = values + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
