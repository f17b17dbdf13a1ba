"""EASE: a linear item-to-item model in closed form."""

from __future__ import annotations

from typing import Literal

import numpy as np
import scipy.linalg
import scipy.sparse
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from distilrec.data import Interactions
from distilrec.errors import ModelError
from distilrec.models.base import ClosedForm, ModelConfig
from distilrec.scoring import Queries, Ragged

__all__ = ["EASE", "EASEConfig", "history_matrix"]

LARGEST_CATALOGUE = 20_000  # fitting takes 29 bytes per pair of items: 12 GB


class EASEConfig(ModelConfig):
    """Settings of EASE.

    reg: lambda of the ridge regression. recency_half_life: in serving and training alike, an item of a
    history weighs half as much for each so many later ones; None weighs all alike.
    """

    model: Literal["ease"] = "ease"
    reg: float = Field(default=300.0, gt=0)
    recency_half_life: float | None = Field(default=None, gt=0)


def history_matrix(
    histories: Ragged, n_items: int, half_life: float | None = None
) -> scipy.sparse.csr_array[np.float32, tuple[int, int]]:
    """(B, N) sparse float32: 1 where a history holds the item, halved with every `half_life` later items.

    An item taken more than once has the sum of its weights, but no more than 1.

    >>> history_matrix(Ragged.from_rows([[2, 0]]), 3, half_life=1.0).toarray()
    array([[1. , 0. , 0.5]], dtype=float32)
    """
    rows, positions = histories.positions()
    weights: NDArray[np.float32] = np.ones(len(rows), np.float32)
    if half_life is not None:
        weights = np.exp2((positions + 1 - histories.stops[rows]) / half_life).astype(np.float32)
    ends = np.concatenate([[0], np.cumsum(histories.lengths)])
    matrix = scipy.sparse.csr_array((weights, histories.values[positions], ends), shape=(len(histories), n_items))
    matrix.sum_duplicates()
    np.minimum(matrix.data, 1.0, out=matrix.data)
    return matrix


class EASE(ClosedForm):
    """B = I - P / diag(P) with P = (X'X + reg I)^-1, and score = x B.

    Source: Steck, Embarrassingly Shallow Autoencoders for Sparse Data, WWW 2019, eq. 8. Deviation: x may
    weigh recent items more (`recency_half_life`).
    """

    def __init__(self, config: EASEConfig, n_users: int, n_items: int) -> None:
        super().__init__(n_users, n_items)
        if n_items > LARGEST_CATALOGUE:
            raise ModelError(
                f"EASE inverts an items x items matrix, at most {LARGEST_CATALOGUE} items; these data have "
                f"{n_items}: use item_knn, or matrix_factorization"
            )
        self.config = config
        self.register_buffer("weights", torch.zeros(n_items, n_items))
        self.weights: Tensor

    def fit(self, train: Interactions) -> None:
        """Invert the regularised Gram matrix."""
        x = history_matrix(train.histories, self.n_items, self.config.recency_half_life)
        gram = (x.T @ x).toarray().astype(np.float64)
        gram[np.diag_indices(self.n_items)] += self.config.reg
        factor = scipy.linalg.cho_factor(gram, overwrite_a=True, check_finite=False)
        inverse = scipy.linalg.cho_solve(factor, np.eye(self.n_items), overwrite_b=True, check_finite=False)
        weights = inverse / -np.diag(inverse)
        np.fill_diagonal(weights, 0.0)
        self.weights.copy_(torch.from_numpy(weights))

    def score(self, queries: Queries) -> Tensor:
        """(B, N) float32."""
        x = history_matrix(queries.histories, self.n_items, self.config.recency_half_life)
        return torch.from_numpy(x @ self.weights.numpy())

    def flops(self, query: Queries) -> int:
        """2 N for each item of the history: its row of B, weighed and added."""
        return 2 * history_matrix(query.histories, self.n_items).nnz * self.n_items
