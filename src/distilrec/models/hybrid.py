"""Several models' scores in one, weighed by how much is known of the user and of the item."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import one_hot

from distilrec.errors import ModelError
from distilrec.models.base import Model
from distilrec.models.ensemble import USER_EDGES, standardised, step_names
from distilrec.ranking import queries_at_once
from distilrec.rng import generator
from distilrec.scoring import Queries, Ragged

__all__ = ["Hybrid"]

ITEM_EDGES = (1, 10, 100)  # interactions in training
PENALTY = 1.0  # on squared weights, in queries: what a bucket of few queries doesn't say, its neighbours do


class Hybrid(Model):
    """score = sum_m (w_m + u_m[how much is known of the user] + v_m[... of the item]) z_m + b[... of the item].

    z_m is a member's score, its mean over all items taken away and divided by its standard deviation, per query. How
    much is known of a user is told by the length of the history, of an item by its interactions in training, each in a
    few steps. The weights are those of a conditional logit, fitted on validation: McFadden, Conditional logit analysis
    of qualitative choice behavior, 1974, with a penalty on their squares; the loss is convex, so they are found.

    members: models over the same items. counts: (N,) interactions in training.
    """

    def __init__(self, members: Sequence[Model], counts: NDArray[np.int64]) -> None:
        if len(members) < 2:
            raise ModelError(f"a hybrid needs at least two members, given {len(members)}")
        super().__init__(members[0].n_users, members[0].n_items)
        self.members = nn.ModuleList(members)
        self.reads_histories = any(member.reads_histories for member in members)
        m, users, items = len(members), len(USER_EDGES) + 1, len(ITEM_EDGES) + 1
        self.register_buffer("shared", torch.full((m,), 1.0 / m))
        self.register_buffer("by_user", torch.zeros(users, m))
        self.register_buffer("by_item", torch.zeros(items, m))
        self.register_buffer("bias", torch.zeros(items))
        self.register_buffer("item_step", torch.from_numpy(np.digitize(counts, ITEM_EDGES)))
        self.shared: Tensor
        self.by_user: Tensor
        self.by_item: Tensor
        self.bias: Tensor
        self.item_step: Tensor

    def list_members(self) -> list[Model]:
        """The members, in the order of the weights."""
        return [member for member in self.members if isinstance(member, Model)]

    def fit_weights(self, queries: Queries, targets: Ragged, *, most: int = 2_000) -> None:
        """Fit the weights on validation queries, so many drawn once where they are more than `most`."""
        asked = np.flatnonzero(targets.lengths > 0)
        asked = np.sort(generator(0, "hybrid").permutation(asked)[:most])
        if len(asked) == 0:
            raise ModelError("a hybrid can't be fitted: there is no validation query")
        queries, targets = queries[asked], targets[asked]
        weights = [each.clone().requires_grad_(True) for each in (self.shared, self.by_user, self.by_item, self.bias)]
        optimizer = torch.optim.LBFGS(weights, max_iter=50, line_search_fn="strong_wolfe")
        size = min(queries_at_once(self.n_items), 256)
        parts = [slice(n, n + size) for n in range(0, len(queries), size)]
        kept = [self._standard_scores(queries[part]) for part in parts]

        def closure() -> float:
            optimizer.zero_grad()
            total = 0.0
            for part, z in zip(parts, kept, strict=True):
                loss = self._loss(queries[part], targets[part], z, weights) / len(queries)
                loss.backward()  # type: ignore[no-untyped-call]
                total += float(loss.detach())
            penalty = PENALTY / len(queries) * torch.stack([each.square().sum() for each in weights[1:]]).sum()
            penalty.backward()  # type: ignore[no-untyped-call]
            return total + float(penalty.detach())

        with torch.enable_grad():
            optimizer.step(closure)  # type: ignore[no-untyped-call]
        for own, found in zip((self.shared, self.by_user, self.by_item, self.bias), weights, strict=True):
            own.copy_(found.detach())

    def score(self, queries: Queries) -> Tensor:
        """(B, N) float32."""
        return self.contributions(queries).sum(2)

    def contributions(self, queries: Queries) -> Tensor:
        """(B, N, M + 1) float32: what each member adds to each score, and last the bias."""
        z = self._standard_scores(queries)
        parts = self._weights(queries, [self.shared, self.by_user, self.by_item]) * z
        return torch.cat([parts, self.bias[self.item_step].expand(len(queries), -1).unsqueeze(2)], dim=2)

    def table(self) -> dict[str, dict[str, list[float]]]:
        """The weight of each member for what is known of the user, and of the item: for words and pictures."""
        users, items = (step_names(edges) for edges in (USER_EDGES, ITEM_EDGES))
        return {
            "user": {name: (self.shared + self.by_user[n]).tolist() for n, name in enumerate(users)},
            "item": {name: (self.shared + self.by_item[n]).tolist() for n, name in enumerate(items)},
        }

    def flops(self, query: Queries) -> int:
        """Those of the members, and 4 for each of their scores."""
        return sum(member.flops(query) + 4 * self.n_items for member in self.list_members())

    def serving_state(self) -> dict[str, Tensor]:
        """The weights, and what each member needs."""
        own = ("shared", "by_user", "by_item", "bias", "item_step")
        state = {name: getattr(self, name) for name in own}
        for number, member in enumerate(self.list_members()):
            state |= {f"members.{number}.{name}": value for name, value in member.serving_state().items()}
        return state

    def _standard_scores(self, queries: Queries) -> Tensor:
        """(B, N, M)."""
        with torch.no_grad():
            return torch.stack([standardised(member.score(queries)) for member in self.list_members()], dim=2)

    def _weights(self, queries: Queries, weights: Sequence[Tensor]) -> Tensor:
        """(B, N, M) of the shared ones, those by user and those by item."""
        steps = torch.from_numpy(np.digitize(queries.histories.lengths, USER_EDGES))
        shared, by_user, by_item = weights
        # As products, so that a gradient is one, too.
        users = one_hot(steps, len(by_user)).float() @ by_user
        items = one_hot(self.item_step, len(by_item)).float() @ by_item
        return shared + users.unsqueeze(1) + items.unsqueeze(0)

    def _loss(self, queries: Queries, targets: Ragged, z: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """The sum over queries of the mean cross-entropy of their targets, what they have seen being left out."""
        scores = (self._weights(queries, weights[:3]) * z).sum(2) + weights[3][self.item_step]
        rows, items = queries.masked.flat()
        scores = scores.index_put((torch.from_numpy(rows), torch.from_numpy(items).long()), torch.tensor(-torch.inf))
        rows, items = targets.flat()
        log_p = scores.log_softmax(1)[torch.from_numpy(rows), torch.from_numpy(items).long()]
        share = torch.from_numpy(1 / targets.lengths[rows]).float()
        # A target that was seen before can't be found.
        return -(share * log_p.masked_fill(log_p == -torch.inf, 0.0)).sum()
