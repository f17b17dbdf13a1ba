"""Vectors of chosen places and scores of chosen pairs, with gradients that are fast on a CPU."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from scipy.sparse import csr_array
from torch import Tensor
from torch.nn.functional import embedding_bag

__all__ = ["look_up", "pair_scores"]

with warnings.catch_warnings(action="ignore"):
    # Says once per process that sparse matrices by row are in beta; what is used of them is tested here.
    torch.sparse_csr_tensor([0], [], [], (0, 0))


def look_up(vectors: Tensor, places: Tensor) -> Tensor:
    """vectors[places]: of (M, ...) at places (T,) or (T, C).

    >>> look_up(torch.tensor([[0.0], [1.0]]), torch.tensor([1, 1])).tolist()
    [[1.0], [1.0]]
    """
    if vectors.device.type != "cpu":
        return vectors[places]  # on a GPU, index_select adds its gradient up in any order
    # Its gradient takes a third of the time of embedding's.
    return vectors.index_select(0, places.flatten()).view(*places.shape, *vectors.shape[1:])


def pair_scores(queries: Tensor, vectors: Tensor, rows: Tensor, items: Tensor) -> Tensor:
    """(T, C): queries[rows] . vectors[items] for queries (P, D), vectors (N, D), rows (T,) ascending and items (T, C).

    Raises ValueError where rows don't ascend.

    >>> pair_scores(torch.eye(2), torch.tensor([[3.0, 4.0]]), torch.tensor([1]), torch.tensor([[0]]))
    tensor([[4.]])
    """
    if bool((rows[1:] < rows[:-1]).any()):
        raise ValueError("pair_scores: expected rows in ascending order; the scores would be those of other rows")
    # A sparse matrix takes a pair many times over, but no more of them than it has places.
    if queries.device.type != "cpu" or items.numel() > len(queries) * len(vectors):
        dots: Tensor = torch.linalg.vecdot(queries[rows].unsqueeze(1), vectors[items])
        return dots
    scores: Tensor = _PairScores.apply(queries, vectors, rows, items)  # type: ignore[no-untyped-call]
    return scores


class _PairScores(torch.autograd.Function):
    """The pairs are the places of a sparse (P, N) matrix, so no array of their vectors is made, which costs most."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, vectors: Tensor, rows: Tensor, items: Tensor) -> Tensor:
        begins = rows.new_zeros(len(queries) + 1)
        torch.cumsum(items.shape[1] * torch.bincount(rows, minlength=len(queries)), 0, out=begins[1:])
        columns = items.flatten()
        ctx.save_for_backward(queries, vectors, begins, columns)
        places = torch.sparse_csr_tensor(begins, columns, queries.new_zeros(len(columns)), (len(queries), len(vectors)))
        scores: Tensor = torch.sparse.sampled_addmm(places, queries, vectors.T, beta=0.0).values()
        return scores.view(items.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        queries, vectors, begins, columns = ctx.saved_tensors
        weights = gradient.flatten()
        shape = len(queries), len(vectors)
        by_item = csr_array((weights.numpy(), columns.numpy(), begins.numpy()), shape=shape).tocsc()
        places, ends, turned = (torch.from_numpy(part) for part in (by_item.indices, by_item.indptr, by_item.data))
        return _sums(vectors, columns, begins, weights), _sums(queries, places, ends, turned), None, None


def _sums(vectors: Tensor, places: Tensor, begins: Tensor, weights: Tensor) -> Tensor:
    """(R, D): for each row the weighted sum of the vectors at its places; begins: (R + 1,), of each row's places."""
    sums: Tensor = embedding_bag(
        places, vectors, begins, per_sample_weights=weights, mode="sum", include_last_offset=True
    )
    return sums
