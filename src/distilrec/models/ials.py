"""Matrix factorisation of implicit feedback by alternating least squares."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array
from torch import Tensor

from distilrec.data import Interactions
from distilrec.models.base import ClosedForm, ModelConfig
from distilrec.models.ease import history_matrix, pair_weights
from distilrec.scoring import Queries

__all__ = ["IALS", "IALSConfig"]

LARGEST_BLOCK = 2**24  # numbers at once: 64 MB


class IALSConfig(ModelConfig):
    """Settings of iALS.

    embedding_size: D. unobserved: alpha_0, the weight of what a user hasn't taken, one interaction weighing 1.
    reg: lambda. frequency: nu, how much more reg weighs on those with many interactions; 0 all alike, 1 in proportion.
    sweeps: over users and items. init_std: of the first item vectors, times 1 / sqrt(D). recency_half_life: in serving
    and training alike, an item of a history weighs half as much for each so many later ones; None weighs all alike.
    """

    model: Literal["ials"] = "ials"
    embedding_size: int = Field(default=64, ge=1)
    unobserved: float = Field(default=0.1, gt=0)
    reg: float = Field(default=0.003, gt=0)
    frequency: float = Field(default=1.0, ge=0)
    sweeps: int = Field(default=16, ge=1)
    init_std: float = Field(default=0.1, gt=0)
    recency_half_life: float | None = Field(default=None, gt=0)


class _Turned(NamedTuple):
    """Vectors (M, D) in a basis (D, D) in which what all rows of a system share is a diagonal (D,)."""

    vectors: Tensor
    shared: Tensor
    basis: Tensor


class IALS(ClosedForm):
    """score = u . v, where u solves a ridge regression on the vectors of the user's items: any history has one.

    Minimises sum_{taken} w (1 - s)^2 + alpha_0 sum_{all} s^2 + lambda sum_x (n_x + alpha_0 M)^nu |x|^2, over users and
    items x with n_x interactions among M items or users, each side in turn in closed form.

    Sources: Hu, Koren and Volinsky, ICDM 2008; the loss and its regularisation as in Rendle et al., Revisiting the
    Performance of iALS on Item Recommendation Benchmarks, RecSys 2022, equations 4 and 6. Deviations: w, the sample
    weight, may fall with age, and n_x counts whatever weighs anything as one; user vectors aren't kept but solved for
    when asked, so that a new user needs no training.
    """

    def __init__(self, config: IALSConfig, n_users: int, n_items: int) -> None:
        super().__init__(n_users, n_items)
        self.config = config
        self.width = config.embedding_size
        std = config.init_std / self.width**0.5
        self.register_buffer("items", torch.randn(n_items, self.width) * std)
        self.items: Tensor
        self._served: tuple[int, _Turned] | None = None

    def fit(self, train: Interactions) -> None:
        """Sweep over users and items."""
        taken = self._weights(train.histories)
        if train.weights is not None:
            taken.data *= pair_weights(train)
            taken.eliminate_zeros()  # what weighs nothing isn't taken, and has no say in the ridge
        by_item = taken.T.tocsr()
        for _ in range(self.config.sweeps):
            users = self._solve(taken, self._turned(self.items))
            self.items.copy_(self._solve(by_item, self._turned(users)))

    def hidden(self, queries: Queries) -> Tensor:
        """(B, D) float32: each query's vector, from its history."""
        return self._solve(self._weights(queries.histories), self._serving())

    def item_vectors(self) -> Tensor:
        """(N, D) float32."""
        return self.items

    def item_bias(self) -> None:
        """None: there are none."""

    def score(self, queries: Queries) -> Tensor:
        """(B, N) float32."""
        return self.hidden(queries) @ self.items.T

    def flops(self, query: Queries) -> int:
        """Those of the products, and n^3 / 3 + 2 n^2 for the system of n = min(L, D) unknowns, by Cholesky."""
        self._serving()  # is made for all queries, and no cost of this one
        n = min(self._weights(query.histories).nnz, self.width)
        return super().flops(query) + n**3 // 3 + 2 * n**2

    def _serving(self) -> _Turned:
        """The items as queries are solved with; made once for the items as they are: in an evaluation's block it would
        cost more than all of its queries."""
        if self._served is None or self._served[0] != self.items._version:
            self._served = self.items._version, self._turned(self.items)
        return self._served[1]

    def _weights(self, histories: Any) -> csr_array[Any, Any]:
        return history_matrix(histories, self.n_items, self.config.recency_half_life)

    def _turned(self, vectors: Tensor) -> _Turned:
        shared, basis = torch.linalg.eigh(self.config.unobserved * vectors.T @ vectors)
        return _Turned(vectors @ basis, shared.clamp(min=0), basis)  # rounding makes some zeros negative

    def _solve(self, taken: csr_array[Any, Any], others: _Turned) -> Tensor:
        """(B, D): the best vectors of the rows of `taken` (B, M), given those of its columns."""
        config, lengths = self.config, np.diff(taken.indptr)
        ridge = config.reg * (lengths + config.unobserved * len(others.vectors)) ** config.frequency
        solved = torch.zeros(len(lengths), self.width)
        order = np.argsort(lengths, kind="stable")
        begin = int(np.searchsorted(lengths[order], 1))  # without a history there is nothing to solve
        while begin < len(order):
            rows = order[begin : begin + self._fitting(lengths[order], begin)]
            columns, weights = _padded(taken, rows)
            roots = weights.sqrt().unsqueeze(2)
            diagonal = others.shared + torch.from_numpy(ridge[rows]).float().unsqueeze(1)
            solved[torch.from_numpy(rows)] = _ridge(others.vectors[columns] * roots, roots, diagonal)
            begin += len(rows)
        return solved @ others.basis.T

    def _fitting(self, lengths: NDArray[np.integer[Any]], begin: int) -> int:
        """How many rows from `begin` on, of ascending length, make at most LARGEST_BLOCK numbers; at least one."""
        longest = lengths[begin : begin + LARGEST_BLOCK // self.width + 1].astype(np.int64)
        numbers = longest * np.arange(1, len(longest) + 1) * self.width
        return max(1, int(np.searchsorted(numbers, LARGEST_BLOCK, side="right")))


def _ridge(x: Tensor, y: Tensor, diagonal: Tensor) -> Tensor:
    """(b, D): (x'x + diagonal)^-1 x'y for x (b, L, D), y (b, L, 1) and diagonal (b, D), all above 0.

    By a system of the smaller of L and D, which are the same by the matrix inversion lemma.
    """
    length, width = x.shape[1:]
    if length > width:
        system = x.transpose(1, 2) @ x
        system.diagonal(dim1=1, dim2=2).add_(diagonal)
        whole: Tensor = torch.cholesky_solve(x.transpose(1, 2) @ y, torch.linalg.cholesky(system))
        return whole.squeeze(2)
    scaled = x / diagonal.unsqueeze(1)
    system = scaled @ x.transpose(1, 2)
    system.diagonal(dim1=1, dim2=2).add_(1.0)
    solution: Tensor = scaled.transpose(1, 2) @ torch.cholesky_solve(y, torch.linalg.cholesky(system))
    return solution.squeeze(2)


def _padded(matrix: csr_array[Any, Any], rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Columns and values of some rows, (b, L) each; column 0 with value 0 where a row is shorter."""
    starts, lengths = matrix.indptr[rows].astype(np.int64), np.diff(matrix.indptr)[rows]
    places = starts[:, None] + np.arange(lengths.max())
    inside = np.arange(lengths.max()) < lengths[:, None]
    places = np.where(inside, places, 0)
    columns = np.where(inside, matrix.indices[places], 0).astype(np.int64)
    values = np.where(inside, matrix.data[places], 0.0).astype(np.float32)
    return torch.from_numpy(columns), torch.from_numpy(values)
