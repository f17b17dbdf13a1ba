"""What all models share: settings, scores for queries, and a state that can be saved."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from distilrec.data import Batch, Batches, Interactions
from distilrec.scoring import Queries

__all__ = ["ClosedForm", "DotProductModel", "Model", "ModelConfig", "Supervision", "VectorConfig"]


class ModelConfig(BaseModel):
    """Settings of a model; its own class adds fields and says which `model` it configures."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class VectorConfig(ModelConfig):
    """Settings that all models with vectors share.

    embedding_size: D, the width of item vectors and hidden states. item_bias: whether items have a bias.
    """

    embedding_size: int = Field(default=64, ge=1)
    item_bias: bool = True


class Supervision(ModelConfig):
    """What a model is to learn from the true labels.

    loss: `softmax` over all items; `sampled_softmax`, `bpr` or `bce` over sampled negatives.
    negatives: sampled items per target (`sampled_softmax`: per batch, shared), drawn evenly from all items,
    those that the user took included. label_smoothing: share of the target that is spread over all items
    (softmax only). recency_half_life: an interaction weighs half as much for each so many later ones of its
    user; None weighs all alike. dislike_weight: of explicit negative feedback beside what was taken. Both are means, in
    which sample weights count besides.
    """

    loss: Literal["softmax", "sampled_softmax", "bpr", "bce"] = "softmax"
    negatives: int = Field(default=1, ge=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    recency_half_life: float | None = Field(default=None, gt=0)
    dislike_weight: float = Field(default=1.0, ge=0)

    @model_validator(mode="after")
    def _is_smoothed(self) -> Self:
        if self.label_smoothing and self.loss != "softmax":
            raise ValueError(f"label_smoothing: {self.loss} has no labels to smooth; leave it out, or take softmax")
        return self


class Model(nn.Module, ABC):
    """A recommender over N items: teacher or student by its role, not by its type.

    scores_are_logits: whether softmax(score) is meant as a probability.
    reads_histories: whether a query's history matters; if not, the query's user is looked up, and the answer
    dates from the end of training.
    """

    scores_are_logits: bool = True
    reads_histories: bool = True

    def __init__(self, n_users: int, n_items: int) -> None:
        super().__init__()
        self.n_users = n_users
        self.n_items = n_items

    @abstractmethod
    def score(self, queries: Queries) -> Tensor:
        """(B, N) float32: a score for each item, higher is better."""

    def flops(self, query: Queries) -> int:
        """Floating-point operations of scoring a query, a multiplication and an addition counting as two.

        query: exactly one. Counted are matrix products, convolutions and attention, as PyTorch runs them, which is
        nearly all of a neural model; sums, norms and look-ups aren't, so 0 says that the answer is looked up. A model
        that computes outside of PyTorch gives the same by a formula.
        """
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            self.score(query)
        return int(counter.get_total_flops())

    def serving_state(self) -> dict[str, Tensor]:
        """What is needed to score, by name: what is saved, and what counts as parameters."""
        return dict(self.state_dict())


class ClosedForm(Model):
    """A model that is computed from the log at once, without gradient steps."""

    scores_are_logits = False

    @abstractmethod
    def fit(self, train: Interactions) -> None:
        """Compute the model from training interactions."""


class DotProductModel(Model):
    """A model of score ``hidden(query) @ item_vectors().T + item_bias()``, trained by gradient steps.

    Its serving state has `items` (N, D), `bias` (N,) where there is one, and `users` (U, D) where users are looked up.
    """

    def __init__(self, config: VectorConfig, n_users: int, n_items: int) -> None:
        super().__init__(n_users, n_items)
        self.width = config.embedding_size
        self.bias = nn.Parameter(torch.zeros(n_items)) if config.item_bias else None

    @abstractmethod
    def batches(
        self,
        train: Interactions,
        supervision: Supervision,
        batch_size: int,
        disliked: Interactions | None = None,
        known: NDArray[np.bool_] | None = None,
    ) -> Batches:
        """The batches that this model trains on.

        known: (U,) bool, users of whom soft labels tell although they have no history: models that look users up ask
        for them, too.
        """

    @abstractmethod
    def encode(self, batch: Batch) -> Tensor:
        """(P, D): hidden states of the batch's queries, with gradients."""

    @abstractmethod
    def hidden(self, queries: Queries) -> Tensor:
        """(B, D) float32: hidden states, as serving sees them."""

    @abstractmethod
    def item_vectors(self) -> Tensor:
        """(N, D) float32."""

    def item_bias(self) -> Tensor | None:
        """(N,) float32, or None."""
        return self.bias

    @property
    def trained_items(self) -> NDArray[np.bool_] | None:
        """(N,) bool: the items that true labels can speak of; None where they speak of all.

        An item that training never saw is a negative of every query. A model that knows it by its content would learn
        from that to rank it last.
        """
        return None

    def score(self, queries: Queries) -> Tensor:
        """(B, N) float32."""
        hidden, vectors, bias = self.hidden(queries), self.item_vectors(), self.item_bias()
        return hidden @ vectors.T if bias is None else torch.addmm(bias, hidden, vectors.T)

    def tensor(self, array: NDArray[np.generic]) -> Tensor:
        """The array as a tensor where the weights are."""
        return torch.from_numpy(array).to(next(self.parameters()).device)
