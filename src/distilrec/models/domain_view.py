"""A model of several domains, asked about one of them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distilrec.models.base import Model
from distilrec.models.ensemble import Ensemble
from distilrec.scoring import Queries, Ragged

__all__ = ["DomainView", "known_elsewhere"]


class DomainView(Model):
    """Answers for one domain's users and items with a model of all: what a user took elsewhere comes first.

    users (U,), items (N,) int32: where the domain's are among those of all domains. elsewhere: U rows of items of all,
    what each user took in other domains.

    >>> from distilrec.data import Interactions
    >>> from distilrec.models import Popularity, PopularityConfig
    >>> whole = Popularity(PopularityConfig(), 2, 4)
    >>> whole.fit(Interactions(Ragged.from_rows([[0, 3], [3, 1]]), n_items=4))
    >>> view = DomainView(whole, np.array([1], np.int32), np.array([1, 3], np.int32), Ragged.from_rows([[0]]))
    >>> view.score(Queries(np.array([0], np.int32), Ragged.from_rows([[1]]))).argmax(1)
    tensor([1])
    """

    def __init__(self, inner: Model, users: NDArray[np.int32], items: NDArray[np.int32], elsewhere: Ragged) -> None:
        super().__init__(len(users), len(items))
        self.inner = inner
        self.scores_are_logits, self.reads_histories = inner.scores_are_logits, inner.reads_histories
        self.register_buffer("users", torch.from_numpy(users.copy()))
        self.register_buffer("items", torch.from_numpy(items.copy()))
        self.register_buffer("starts", torch.from_numpy(elsewhere.starts.copy()))
        self.register_buffer("stops", torch.from_numpy(elsewhere.stops.copy()))
        self.register_buffer("elsewhere", torch.from_numpy(elsewhere.values.copy()))
        self._mapped = (np.empty(0, np.int32), np.empty(0, np.int32))
        self.users: Tensor
        self.items: Tensor
        self.starts: Tensor
        self.stops: Tensor
        self.elsewhere: Tensor

    @property
    def known_elsewhere(self) -> NDArray[np.bool_]:
        """(U,) bool: the users who took something in another domain."""
        return (self.stops > self.starts).numpy()

    def score(self, queries: Queries) -> Tensor:
        """(B, N) float32."""
        return self.inner.score(self.widened(queries)).index_select(1, self.items)

    def widened(self, queries: Queries) -> Queries:
        """The queries as the model of all domains is asked them."""
        known = queries.users >= 0
        users = np.where(known, self.users.numpy()[queries.users], -1).astype(np.int32)
        others = Ragged(self.starts.numpy(), self.stops.numpy(), self.elsewhere.numpy())[queries.users]
        others = Ragged(others.starts, np.where(known, others.stops, others.starts), others.values)
        if not others.lengths.any():  # rows of one array stay rows of it, and prefixes of one history one pass
            own_rows = queries.histories
            return Queries(users, Ragged(own_rows.starts, own_rows.stops, self._among_all(own_rows.values)))
        (first, before), (second, own) = others.flat(), queries.histories.flat()
        order = np.argsort(np.concatenate([first, second]), kind="stable")
        values = np.concatenate([before, self.items.numpy()[own]])[order]
        return Queries(users, Ragged.from_lengths(others.lengths + queries.histories.lengths, values))

    def _among_all(self, values: NDArray[np.int32]) -> NDArray[np.int32]:
        """The places among all of the domain's items; of one array, as that of a log, worked out once."""
        if values is not self._mapped[0]:
            self._mapped = values, self.items.numpy()[values]
        return self._mapped[1]

    def flops(self, query: Queries) -> int:
        """Those of the model of all domains."""
        return self.inner.flops(self.widened(query))

    def serving_state(self) -> dict[str, Tensor]:
        """What the model of all domains needs, where the domain's users and items are, and what they took elsewhere."""
        own = {name: getattr(self, name) for name in ("users", "items", "starts", "stops", "elsewhere")}
        return own | {f"inner.{name}": value for name, value in self.inner.serving_state().items()}


def known_elsewhere(model: Model) -> NDArray[np.bool_] | None:
    """(U,) bool: the users of whom a model of one domain knows from others; None where it knows of no others."""
    if isinstance(model, DomainView):
        return model.known_elsewhere
    if isinstance(model, Ensemble):
        return next((known for known in map(known_elsewhere, model.list_members()) if known is not None), None)
    return None
