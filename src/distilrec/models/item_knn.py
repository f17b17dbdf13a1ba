"""Item-based nearest neighbours."""

from __future__ import annotations

from typing import Literal

import numpy as np
import scipy.sparse
import torch
from pydantic import Field
from torch import Tensor

from distilrec.data import Interactions
from distilrec.models.base import ClosedForm, ModelConfig
from distilrec.models.ease import history_matrix, weighted_matrix
from distilrec.scoring import Queries

__all__ = ["ItemKNN", "ItemKNNConfig", "neighbour_matrix"]

BLOCK_VALUES = 2**23  # similarities at once: 64 MB


class ItemKNNConfig(ModelConfig):
    """Settings of item-kNN.

    neighbours: kept per item. shrink: of rare pairs' cosine. recency_half_life: in serving, an item of a
    history weighs half as much for each so many later ones; None weighs all alike.
    """

    model: Literal["item_knn"] = "item_knn"
    neighbours: int = Field(default=100, ge=1)
    shrink: float = Field(default=10.0, ge=0)
    recency_half_life: float | None = Field(default=None, gt=0)


def neighbour_matrix(neighbours: Tensor, similarities: Tensor) -> scipy.sparse.csr_array[np.float32, tuple[int, int]]:
    """(N, N) sparse float32: in row i the similarities (N, K) of item i's neighbours (N, K), in their columns.

    >>> neighbour_matrix(torch.tensor([[1], [0]]), torch.tensor([[0.5], [0.25]])).toarray()
    array([[0.  , 0.5 ],
           [0.25, 0.  ]], dtype=float32)
    """
    n_items, kept = neighbours.shape
    ends = np.arange(0, n_items * kept + 1, kept)
    table = (similarities.numpy().ravel(), neighbours.numpy().ravel(), ends)
    return scipy.sparse.csr_array(table, shape=(n_items, n_items))


class ItemKNN(ClosedForm):
    """Score = sum over the history of the cosine between items, each item keeping its nearest neighbours.

    cosine_ij = c_ij / (sqrt(c_i c_j) + shrink), c counting users: Deshpande and Karypis, Item-based top-N
    recommendation, TOIS 2004, with additive shrinkage. With sample weights c_i adds up those of its users, and c_ij the
    geometric means of both, so that a user whose interactions all weigh w counts as w users. The neighbours are kept as
    a sparse matrix in three buffers, made one block of items at a time.
    """

    def __init__(self, config: ItemKNNConfig, n_users: int, n_items: int) -> None:
        super().__init__(n_users, n_items)
        self.config = config
        kept = min(config.neighbours, n_items)
        self.register_buffer("neighbours", torch.zeros(n_items, kept, dtype=torch.int32))
        self.register_buffer("similarities", torch.zeros(n_items, kept))
        self.neighbours: Tensor
        self.similarities: Tensor

    def fit(self, train: Interactions) -> None:
        """Find each item's nearest neighbours."""
        x = weighted_matrix(train)
        columns = x.tocsc()
        norms = np.sqrt(np.bincount(x.indices, weights=x.data**2, minlength=self.n_items))
        kept = self.neighbours.shape[1]
        size = max(1, BLOCK_VALUES // self.n_items)
        for begin in range(0, self.n_items, size):
            part = slice(begin, min(begin + size, self.n_items))
            counts = (columns[:, part].T @ x).toarray()  # (block, N)
            scale = np.outer(norms[part], norms) + self.config.shrink
            cosine = np.divide(counts, scale, out=np.zeros_like(scale), where=scale > 0).astype(np.float32)
            cosine[np.arange(len(cosine)), np.arange(part.start, part.stop)] = 0.0
            values, items = torch.from_numpy(cosine).topk(kept)
            self.neighbours[part], self.similarities[part] = items.int(), values

    def score(self, queries: Queries) -> Tensor:
        """(B, N) float32."""
        x = history_matrix(queries.histories, self.n_items, self.config.recency_half_life)
        return torch.from_numpy((x @ neighbour_matrix(self.neighbours, self.similarities)).toarray().astype(np.float32))

    def flops(self, query: Queries) -> int:
        """2 for each neighbour that is kept of each item of the history: its cosine, weighed and added."""
        return 2 * history_matrix(query.histories, self.n_items).nnz * self.neighbours.shape[1]
