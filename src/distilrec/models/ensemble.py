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

__all__ = ["USER_EDGES", "Ensemble", "standardised", "step_names"]

STEP = 0.05
BLOCK_BYTES = 2**24  # of scores held at once, of all members together
USER_EDGES = (1, 3, 10, 30)  # items of a history
FEWEST = 50  # queries that say what those of their step need


class Ensemble(Model):
    """score = sum_m w_m (s_m - mean(s_m)) / std(s_m), mean and standard deviation over all items, per query.

    members: models over the same items. by_history: whether the weights hang on the length of a query's history, in the
    steps of `step_names(USER_EDGES)`: of whom little is known, popularity may say more than any other model.
    weights: (S, m) float32, at least 0, sum 1 in each of the S steps, which are one or those of the history.
    """

    scores_are_logits = False

    def __init__(self, members: Sequence[Model], *, by_history: bool = False) -> None:
        if not members:
            raise ModelError("An ensemble needs at least one member, given none")
        super().__init__(members[0].n_users, members[0].n_items)
        if any(member.n_items != self.n_items for member in members):
            raise ModelError(
                "Members of an ensemble must know the same items, given catalogues of "
                f"{[member.n_items for member in members]}"
            )
        self.members = nn.ModuleList(members)
        self.by_history = by_history
        steps = len(USER_EDGES) + 1 if by_history else 1
        self.register_buffer("weights", torch.full((steps, len(members)), 1 / len(members)))
        self.weights: Tensor
        self.reads_histories = by_history or any(member.reads_histories for member in members)

    def list_members(self) -> list[Model]:
        """The members, in the order of the weights."""
        return [member for member in self.members if isinstance(member, Model)]

    def fit_weights(self, queries: Queries, targets: Ragged) -> float:
        """Choose the weights with the best NDCG@10 on validation queries, and return that NDCG@10.

        Members are added one by one in order of their own quality; each time the mix of what stands with
        the new one is searched in steps of 0.05, so the cost grows with the number of members, not with its
        power. By history, each step is searched by itself; one with fewer than 50 queries goes with the nearest
        that has them, the shorter of two.
        """
        if not self.by_history:
            weights, best = self._fitted(queries, targets)
            self.weights.copy_(torch.from_numpy(weights))
            return best
        steps = self._steps(queries).numpy()
        counts = np.bincount(steps, minlength=len(self.weights))
        told = np.flatnonzero(counts >= min(FEWEST, counts.max()))
        total = 0.0
        nearest = told[np.abs(np.arange(len(counts))[:, None] - told).argmin(1)]
        for step in told:
            asked = np.flatnonzero(nearest[steps] == step)
            weights, quality = self._fitted(queries[asked], targets[asked])
            self.weights[torch.from_numpy(nearest == step)] = torch.from_numpy(weights).float()
            total += quality * len(asked)
        return total / max(len(queries), 1)

    def mean_weights(self, queries: Queries) -> list[float]:
        """(m,) the mean of the weights over some queries."""
        return self.weights[self._steps(queries)].mean(0).tolist()

    def pruned(self) -> Model:
        """The members that have a weight: one of them as it is, several as an ensemble."""
        kept = [number for number, _ in self._asked()]
        members = self.list_members()
        if len(kept) == 1:
            return members[kept[0]]
        smaller = Ensemble([members[number] for number in kept], by_history=self.by_history)
        smaller.weights.copy_(self.weights[:, kept])
        return smaller

    def _fitted(self, queries: Queries, targets: Ragged) -> tuple[NDArray[np.float64], float]:
        """(m,) the best weights for some queries, and their NDCG@10."""
        each = np.eye(len(self.members))
        alone = self._ndcg_of(each, queries, targets)
        order = np.argsort(-alone, kind="stable")
        best, weights = alone[order[0]], each[order[0]]
        shares = np.arange(STEP, 1.0, STEP)[:, None]
        for member in order[1:]:
            mixes = (1 - shares) * weights + shares * each[member]
            qualities = self._ndcg_of(mixes, queries, targets)
            if qualities.max() > best:
                best, weights = qualities.max(), mixes[int(qualities.argmax())]
        return weights, float(best)

    def _ndcg_of(self, mixes: NDArray[np.float64], queries: Queries, targets: Ragged) -> NDArray[np.float64]:
        """NDCG@10 of several weightings (n, m), each member asked once per query."""
        sums = np.zeros(len(mixes))
        needed = [member for number, member in enumerate(self.list_members()) if mixes[:, number].any()]
        used = torch.from_numpy(mixes[:, mixes.any(axis=0)]).float()
        block = max(1, BLOCK_BYTES // (4 * self.n_items * len(self.members)))
        for begin in range(0, len(queries), block):
            asked, wanted = queries[begin : begin + block], targets[begin : begin + block]
            with torch.inference_mode():
                scores = torch.stack([standardised(member.score(asked)) for member in needed])  # (m, B, N)
                for number, weights in enumerate(used):
                    mixed = _Scored(torch.einsum("m,mbn->bn", weights, scores))
                    sums[number] += evaluate(mixed, asked, wanted, ["ndcg@10"], batch_size=block)["ndcg@10"].sum()
        return sums / max(len(queries), 1)

    def serving_state(self) -> dict[str, Tensor]:
        """The weights, and what each member needs."""
        state = {"weights": self.weights}
        for number, member in enumerate(self.list_members()):
            state |= {f"members.{number}.{name}": value for name, value in member.serving_state().items()}
        return state

    def score(self, queries: Queries) -> Tensor:
        """(B, N) float32."""
        total, weights = torch.zeros(len(queries), self.n_items), self.weights[self._steps(queries)]
        for number, member in self._asked():
            total += weights[:, number, None] * standardised(member.score(queries))
        return total

    def flops(self, query: Queries) -> int:
        """Those of the members that have a weight, and 2 N for each of them: its scores, weighed and added."""
        return sum(member.flops(query) + 2 * self.n_items for _, member in self._asked())

    def _asked(self) -> list[tuple[int, Model]]:
        """The members that have a weight, and their numbers."""
        used = (self.weights.sum(0) > 0).tolist()
        return [(number, member) for number, member in enumerate(self.list_members()) if used[number]]

    def _steps(self, queries: Queries) -> Tensor:
        """(B,) int64: which row of the weights is for each query."""
        lengths = queries.histories.lengths
        return torch.from_numpy(
            np.digitize(lengths, USER_EDGES) if self.by_history else np.zeros(len(lengths), np.int64)
        )


def step_names(edges: Sequence[int]) -> list[str]:
    """What each step holds.

    >>> step_names((1, 3, 10))
    ['0', '1–2', '3–9', '10 and more']
    """
    lows, highs = (0, *edges), [edge - 1 for edge in edges]
    names = [str(low) if low == high else f"{low}–{high}" for low, high in zip(lows, highs, strict=False)]
    return [*names, f"{edges[-1]} and more"]


def standardised(scores: Tensor) -> Tensor:
    """(B, N): about their mean, in standard deviations, row by row."""
    centred = scores - scores.mean(1, keepdim=True)
    return centred / centred.square().mean(1, keepdim=True).sqrt().clamp(min=1e-12)


class _Scored:
    """Scores that are known already, in the place of a model."""

    scores_are_logits = False

    def __init__(self, scores: Tensor) -> None:
        self._scores = scores
        self.n_items = scores.shape[1]

    def score(self, queries: Queries) -> Tensor:
        """(B, N) float32, of the one block of queries that they are for."""
        return self._scores
