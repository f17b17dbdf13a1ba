"""LightGCN: user and item vectors smoothed over the interaction graph."""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from distilrec.data import Batch, Batches, Interactions
from distilrec.models.base import DotProductModel, Supervision, VectorConfig
from distilrec.models.matrix_factorization import answer_strangers_, known_or_mean, user_batches
from distilrec.scoring import Queries

__all__ = ["LightGCN", "LightGCNConfig"]


class LightGCNConfig(VectorConfig):
    """Settings of LightGCN: how often vectors are passed to neighbours, and the spread of the first ones."""

    model: Literal["lightgcn"] = "lightgcn"
    layers: int = Field(default=2, ge=1)
    init_std: float = Field(default=0.1, gt=0)


class LightGCN(DotProductModel):
    """The mean of 0 to `layers` rounds of symmetrically normalised neighbour averages; score = u . v + b.

    Source: He et al., LightGCN, SIGIR 2020, eq. 3, 4 and 6, with equal weights for the layers. Deviation: an
    item bias. The graph holds training interactions only, all alike, whatever they weigh in the loss; it is used in
    training, while serving reads smoothed vectors that are kept as a buffer, so the graph isn't needed there. An
    unknown user, or one without a training history, gets the mean vector of all others.
    """

    reads_histories = False

    def __init__(self, config: LightGCNConfig, n_users: int, n_items: int) -> None:
        super().__init__(config, n_users, n_items)
        self.config = config
        self.first = nn.Parameter(torch.randn(n_users + n_items, config.embedding_size) * config.init_std)
        self.register_buffer("smoothed", torch.zeros(n_users + n_items, config.embedding_size))
        self.smoothed: Tensor
        self._graph: Tensor | None = None
        self._strangers: NDArray[np.bool_] | None = None
        self._current: Tensor | None = None

    def batches(
        self,
        train: Interactions,
        supervision: Supervision,
        batch_size: int,
        disliked: Interactions | None = None,
        known: NDArray[np.bool_] | None = None,
    ) -> Batches:
        """Whole users, or interactions; also takes the graph from `train`."""
        self._graph = _normalised_graph(train).to(self.first.device)
        self._strangers = (train.histories.lengths == 0) & (True if known is None else ~known)
        return user_batches(train, supervision, batch_size, disliked, known)

    def encode(self, batch: Batch) -> Tensor:
        """(P, D)."""
        self._current = self._smooth()
        return nn.functional.embedding(self.tensor(batch.users), self._current)

    def train(self, mode: bool = True) -> LightGCN:
        """Switch between training, which smooths anew for each batch, and serving, which keeps the result."""
        if not mode and self._graph is not None:
            self._current = None
            with torch.no_grad():
                self.smoothed.copy_(self._smooth())
            answer_strangers_(self.smoothed[: self.n_users], self._strangers)
        super().train(mode)
        return self

    def hidden(self, queries: Queries) -> Tensor:
        """(B, D) float32."""
        return known_or_mean(self.smoothed[: self.n_users], self.tensor(queries.users).long())

    def item_vectors(self) -> Tensor:
        """(N, D) float32: with gradients after `encode`, as served otherwise."""
        vectors = self.smoothed if self._current is None else self._current
        return vectors[self.n_users :]

    def serving_state(self) -> dict[str, Tensor]:
        """The smoothed vectors of users and items, and the bias; the first vectors serve training only."""
        state = {name: value for name, value in self.state_dict().items() if name not in ("first", "smoothed")}
        return {**state, "users": self.smoothed[: self.n_users], "items": self.smoothed[self.n_users :]}

    def _smooth(self) -> Tensor:
        assert self._graph is not None  # batches() comes before encode()
        total = layer = self.first
        for _ in range(self.config.layers):
            layer = torch.sparse.mm(self._graph, layer)
            total = total + layer
        return total / (self.config.layers + 1)


def _normalised_graph(train: Interactions) -> Tensor:
    """(U + N, U + N) sparse CSR: 1 / sqrt(degree degree) for each interaction, in both directions."""
    users, items = train.histories.flat()
    pairs = np.unique(users * train.n_items + items)
    users, items = np.divmod(pairs, train.n_items)
    items = items + train.n_users
    n = train.n_users + train.n_items
    degrees = np.bincount(np.concatenate([users, items]), minlength=n).astype(np.float32)
    values = 1.0 / np.sqrt(degrees[users] * degrees[items])
    places = np.concatenate([users, items]), np.concatenate([items, users])
    edges = scipy.sparse.csr_array((np.concatenate([values, values]), places), shape=(n, n))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse")  # torch calls its CSR layout beta
        return torch.sparse_csr_tensor(
            torch.from_numpy(edges.indptr.astype(np.int64)),
            torch.from_numpy(edges.indices.astype(np.int64)),
            torch.from_numpy(edges.data),
            (n, n),
            check_invariants=True,
        )
