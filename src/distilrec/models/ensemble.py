"""A weighted ensemble of recommenders, its weights fitted on validation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distilrec.errors import ModelError
from distilrec.models.base import Model
from distilrec.ranking import evaluate
from distilrec.scoring import Queries, Ragged

__all__ = ["Ensemble"]

STEP = 0.05


class Ensemble(Model):
    """score = sum_m w_m (s_m - mean(s_m)) / std(s_m), mean and standard deviation over all items, per query.

    members: models over the same items. weights: (m,) float32, at least 0, sum 1.
    """

    scores_are_logits = False

    def __init__(self, members: Sequence[Model]) -> None:
        if not members:
            raise ModelError("An ensemble needs at least one member, given none")
        super().__init__(members[0].n_users, members[0].n_items)
        if any(member.n_items != self.n_items for member in members):
            raise ModelError(
                "Members of an ensemble must know the same items, given catalogues of "
                f"{[member.n_items for member in members]}"
            )
        self.members = nn.ModuleList(members)
        self.register_buffer("weights", torch.full((len(members),), 1 / len(members)))
        self.weights: Tensor
        self.reads_histories = any(member.reads_histories for member in members)

    def list_members(self) -> list[Model]:
        """The members, in the order of the weights."""
        return [member for member in self.members if isinstance(member, Model)]

    def fit_weights(self, queries: Queries, targets: Ragged) -> float:
        """Choose the weights with the best NDCG@10 on validation queries, and return that NDCG@10.

        Members are added one by one in order of their own quality; each time the mix of what stands with
        the new one is searched in steps of 0.05, so the cost grows with the number of members, not with its
        power.
        """
        alone = [_ndcg(self._with(weights), queries, targets) for weights in np.eye(len(self.members))]
        order = np.argsort(alone)[::-1]
        best, weights = max(alone), np.eye(len(self.members))[order[0]]
        for member in order[1:]:
            mixes = [
                (1 - share) * weights + share * np.eye(len(self.members))[member]
                for share in np.arange(STEP, 1.0, STEP)
            ]
            qualities = [_ndcg(self._with(mix), queries, targets) for mix in mixes]
            if max(qualities) > best:
                best, weights = max(qualities), mixes[int(np.argmax(qualities))]
        self._with(weights)
        return float(best)

    def serving_state(self) -> dict[str, Tensor]:
        """The weights, and what each member needs."""
        state = {"weights": self.weights}
        for number, member in enumerate(self.list_members()):
            state |= {f"members.{number}.{name}": value for name, value in member.serving_state().items()}
        return state

    def _with(self, weights: NDArray[np.float64]) -> Ensemble:
        self.weights.copy_(torch.from_numpy(weights))
        return self

    def score(self, queries: Queries) -> Tensor:
        """(B, N) float32."""
        total = torch.zeros(len(queries), self.n_items)
        for member, weight in zip(self.list_members(), self.weights.tolist(), strict=True):
            if weight > 0:
                total += weight * _standardised(member.score(queries))
        return total


def _standardised(scores: Tensor) -> Tensor:
    centred = scores - scores.mean(1, keepdim=True)
    return centred / centred.square().mean(1, keepdim=True).sqrt().clamp(min=1e-12)


def _ndcg(model: Model, queries: Queries, targets: Ragged) -> float:
    return float(evaluate(model, queries, targets, ["ndcg@10"])["ndcg@10"].mean())
