"""Popularity: the same list for everyone."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from distilrec.data import Interactions
from distilrec.models.base import ClosedForm, ModelConfig
from distilrec.scoring import Queries

__all__ = ["Popularity", "PopularityConfig"]


class PopularityConfig(ModelConfig):
    """Popularity has nothing to set."""

    model: Literal["popularity"] = "popularity"


class Popularity(ClosedForm):
    """Score an item by the logarithm of its share of interactions, so that softmax gives that share.

    An interaction counts as often as its sample weight says. Half an interaction is added to each item, which keeps
    items that nobody took finite.
    """

    scores_are_logits = True
    reads_histories = False

    def __init__(self, config: PopularityConfig, n_users: int, n_items: int) -> None:
        super().__init__(n_users, n_items)
        self.config = config
        self.register_buffer("log_share", torch.zeros(n_items))
        self.log_share: Tensor

    def fit(self, train: Interactions) -> None:
        """Count."""
        _, positions = train.flat()
        weights = None if train.weights is None else train.weights[positions]
        taken = np.bincount(train.histories.values[positions], weights, minlength=self.n_items)
        counts = torch.from_numpy(taken).float() + 0.5
        self.log_share.copy_((counts / counts.sum()).log())

    def score(self, queries: Queries) -> Tensor:
        """(B, N) float32."""
        return self.log_share.repeat(len(queries), 1)
