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

__all__ = ["EASE", "EASEConfig", "history_matrix", "pair_weights", "weighted_matrix"]

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


def pair_weights(train: Interactions) -> NDArray[np.float32]:
    """Sample weight of each entry of the log's `history_matrix`, in their order.

    Of an item that a user took more than once it is the largest; 1 throughout where the log has no weights.

    >>> log = Interactions(Ragged.from_rows([[2, 0, 2]]), n_items=3, weights=np.array([1, 5, 3], np.float32))
    >>> pair_weights(log)
    array([5., 3.], dtype=float32)
    """
    rows, positions = train.flat()
    weights = np.ones(len(rows), np.float32) if train.weights is None else train.weights[positions]
    keys = rows * train.n_items + train.histories.values[positions]
    order = np.lexsort((weights, keys))
    largest: NDArray[np.float32] = weights[order[np.diff(keys[order], append=-1) != 0]]
    return largest


def weighted_matrix(
    train: Interactions, half_life: float | None = None
) -> scipy.sparse.csr_array[np.float32, tuple[int, int]]:
    """The log's `history_matrix`, each entry times the square root of its sample weight.

    So a product of columns adds up weights, and a user whose interactions all weigh w counts as w users.
    """
    matrix = history_matrix(train.histories, train.n_items, half_life)
    if train.weights is not None:
        matrix.data *= np.sqrt(pair_weights(train))
    return matrix


class EASE(ClosedForm):
    """B = I - P / diag(P) with P = (X'X + reg I)^-1, and score = x B.

    Source: Steck, Embarrassingly Shallow Autoencoders for Sparse Data, WWW 2019, eq. 8. Deviations: x may weigh recent
    items more (`recency_half_life`); with sample weights w an entry of X is sqrt(w), as in weighted least squares, so
    that a user whose interactions all weigh w counts as w users.
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
        x = weighted_matrix(train, self.config.recency_half_life)
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
