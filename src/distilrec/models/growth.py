"""Models of yesterday, when there were fewer users and items: asked as they are, or trained on."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distilrec.errors import ModelError
from distilrec.models.base import DotProductModel, Model
from distilrec.scoring import Queries, Ragged

__all__ = ["Known", "Outgrown", "warm_start_"]


class Known:
    """Takes what came later out of queries: users from `n_users` on are unknown, items from `n_items` on are left out.

    Rows of one array stay rows of one array, which is made once.

    >>> known = Known(n_users=1, n_items=5)
    >>> queries = known.queries(Queries(np.array([0, 1], np.int32), Ragged.from_rows([[4, 7, 2], [9]])))
    >>> queries.users, queries.histories.lengths, queries.histories.flat()[1]
    (array([ 0, -1], dtype=int32), array([2, 0]), array([4, 2], dtype=int32))
    """

    def __init__(self, n_users: int, n_items: int) -> None:
        self.n_users, self.n_items = n_users, n_items
        self._values: NDArray[np.int32] = np.empty(0, np.int32)
        self._kept, self._before = self._values, np.zeros(1, np.int64)

    def queries(self, queries: Queries) -> Queries:
        """The queries as they would have been asked without the new users and items."""
        users = np.where(queries.users < self.n_users, queries.users, -1).astype(np.int32)
        seen = None if queries.seen is None else self.rows(queries.seen)
        return Queries(users, self.rows(queries.histories), seen)

    def rows(self, rows: Ragged) -> Ragged:
        """The rows without new items."""
        if rows.values is not self._values:
            kept = rows.values < self.n_items
            self._values, self._kept = rows.values, rows.values[kept]
            self._before = np.concatenate([[0], np.cumsum(kept, dtype=np.int64)])
        return Ragged(self._before[rows.starts], self._before[rows.stops], self._kept)


class Outgrown(Model):
    """A model of fewer users and items in the place of one of all: it scores new items like the worst that it knows.

    Of equal scores the smaller item comes first, and new items have the largest numbers, so none of them is listed
    before an item that the model knows. New users are unknown users to it.
    """

    def __init__(self, inner: Model, n_users: int, n_items: int) -> None:
        super().__init__(n_users, n_items)
        self.inner = inner
        self.scores_are_logits, self.reads_histories = inner.scores_are_logits, inner.reads_histories
        self._known = Known(inner.n_users, inner.n_items)

    def score(self, queries: Queries) -> Tensor:
        """(B, N) float32."""
        scores = self.inner.score(self._known.queries(queries))
        return torch.cat([scores, scores.amin(1, keepdim=True).expand(-1, self.n_items - scores.shape[1])], dim=1)

    def flops(self, query: Queries) -> int:
        """Those of the model itself."""
        return self.inner.flops(self._known.queries(query))

    def serving_state(self) -> dict[str, Tensor]:
        """What the model itself needs."""
        return self.inner.serving_state()


def warm_start_(model: DotProductModel, earlier: Model) -> None:
    """Give `model` the weights of `earlier`, the same model of no more users and items, in place.

    The rows of new users and items are the mean of those that are there: nothing is known of them, so they begin in
    the middle. Raises ModelError where the two don't fit.
    """
    state, weights = model.state_dict(), earlier.state_dict()
    if type(model) is not type(earlier) or earlier.serving_state().keys() != state.keys():
        raise ModelError(
            f"warm start: a {type(earlier).__name__} can't go on as a {type(model).__name__}"
            + (", which doesn't save all that it trains" if type(model) is type(earlier) else "")
            + "; give the recipe the earlier run's student, one of history_encoder, sasrec or matrix_factorization"
        )
    sizes = {(earlier.n_users, model.n_users), (earlier.n_items, model.n_items)}
    for name, target in state.items():  # they share their memory with the model's own
        given = weights[name]
        if given.shape == target.shape:
            target.copy_(given)
        elif given.shape[1:] == target.shape[1:] and len(given) < len(target) and (len(given), len(target)) in sizes:
            target[: len(given)] = given
            target[len(given) :] = given.mean(0)
        else:
            raise ModelError(
                f"warm start: {name} has shape {tuple(given.shape)} in the earlier student and {tuple(target.shape)} "
                "in this one; give both the same settings"
            )
