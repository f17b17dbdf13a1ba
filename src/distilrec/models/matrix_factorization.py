"""Matrix factorisation: a vector per user and per item."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from distilrec.data import Batch, Batches, Interactions, PairBatches, UserBatches
from distilrec.models.base import DotProductModel, Supervision, VectorConfig
from distilrec.models.pairs import look_up
from distilrec.scoring import Queries

__all__ = ["MatrixFactorization", "MatrixFactorizationConfig", "answer_strangers_", "known_or_mean", "user_batches"]


class MatrixFactorizationConfig(VectorConfig):
    """Settings of matrix factorisation.

    init_std: standard deviation of the first vectors. dropout: of the user's vector in training.
    """

    model: Literal["matrix_factorization"] = "matrix_factorization"
    init_std: float = Field(default=0.1, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)


def user_batches(
    train: Interactions,
    supervision: Supervision,
    batch_size: int,
    disliked: Interactions | None,
    known: NDArray[np.bool_] | None = None,
) -> Batches:
    """Batches for models that look users up: whole users for a softmax, interactions for sampled losses.

    known: as in `DotProductModel.batches`; it needs whole users.
    """
    half_life = supervision.recency_half_life
    if supervision.loss == "softmax" or known is not None:
        return UserBatches(train, batch_size, half_life, disliked, known)
    return PairBatches(train, batch_size, half_life, disliked)


def answer_strangers_(users: Tensor, strangers: NDArray[np.bool_] | None) -> None:
    """Give users without a training history the mean vector of all others, in place; nothing has trained theirs.

    users: (U, D). strangers: (U,), or None where no training history is known.
    """
    if strangers is not None and strangers.any() and not strangers.all():
        which = torch.from_numpy(strangers).to(users.device)
        with torch.no_grad():
            users[which] = users[~which].mean(0)


def known_or_mean(users: Tensor, places: Tensor) -> Tensor:
    """(B, D): the vectors at places (B,) int64, and where a place is below 0, the mean of all users (U, D)."""
    vectors = users[places.clamp(min=0)]
    unknown = places < 0
    return vectors.where(~unknown.unsqueeze(1), users.mean(0)) if bool(unknown.any()) else vectors


class MatrixFactorization(DotProductModel):
    """score = u . v + b, as in Koren, Bell and Volinsky, Computer 2009, without the user's bias.

    An unknown user, or one without a training history, gets the mean vector of all others.
    """

    reads_histories = False

    def __init__(self, config: MatrixFactorizationConfig, n_users: int, n_items: int) -> None:
        super().__init__(config, n_users, n_items)
        self.config = config
        self.users = nn.Parameter(torch.randn(n_users, config.embedding_size) * config.init_std)
        self.items = nn.Parameter(torch.randn(n_items, config.embedding_size) * config.init_std)
        self.dropout = nn.Dropout(config.dropout)
        self._strangers: NDArray[np.bool_] | None = None

    def batches(
        self,
        train: Interactions,
        supervision: Supervision,
        batch_size: int,
        disliked: Interactions | None = None,
        known: NDArray[np.bool_] | None = None,
    ) -> Batches:
        """Whole users, or interactions; also notes who has none."""
        self._strangers = (train.histories.lengths == 0) & (True if known is None else ~known)
        return user_batches(train, supervision, batch_size, disliked, known)

    def encode(self, batch: Batch) -> Tensor:
        """(P, D)."""
        hidden: Tensor = self.dropout(look_up(self.users, self.tensor(batch.users)))
        return hidden

    def train(self, mode: bool = True) -> MatrixFactorization:
        """Switch between training and serving, for which users without a history get a vector."""
        if not mode:
            answer_strangers_(self.users, self._strangers)
        super().train(mode)
        return self

    def hidden(self, queries: Queries) -> Tensor:
        """(B, D) float32."""
        return known_or_mean(self.users, self.tensor(queries.users).long())

    def item_vectors(self) -> Tensor:
        """(N, D) float32."""
        return self.items
