"""Vectors of chosen places and scores of chosen pairs, with gradients that are fast on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from scipy.sparse import coo_array
from torch import Tensor

__all__ = ["look_up", "pair_scores"]

# Pairs whose vectors are gathered at once: few enough to stay in a processor's cache.
PAIRS = 1024


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
    """(T, C): queries[rows] . vectors[items] for queries (P, D), vectors (N, D), rows (T,) and items (T, C).

    >>> pair_scores(torch.eye(2), torch.tensor([[3.0, 4.0]]), torch.tensor([1]), torch.tensor([[0]]))
    tensor([[4.]])
    """
    if queries.device.type != "cpu":
        dots: Tensor = torch.linalg.vecdot(queries[rows].unsqueeze(1), vectors[items])
        return dots
    owners = rows.repeat_interleave(items.shape[1])
    scores: Tensor = _PairScores.apply(queries, vectors, owners, items.flatten())  # type: ignore[no-untyped-call]
    return scores.view(items.shape)


class _PairScores(torch.autograd.Function):
    """Makes no (T, D) array, neither of vectors nor of gradients: their traffic is what takes the time."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, vectors: Tensor, rows: Tensor, items: Tensor) -> Tensor:
        ctx.save_for_backward(queries, vectors, rows, items)
        scores = queries.new_empty(len(rows))
        for begin in range(0, len(rows), PAIRS):
            part = slice(begin, begin + PAIRS)
            left, right = queries.index_select(0, rows[part]), vectors.index_select(0, items[part])
            torch.linalg.vecdot(left, right, out=scores[part])
        return scores

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        queries, vectors, rows, items = ctx.saved_tensors
        places = rows.numpy(), items.numpy()
        weights = coo_array((gradient.numpy(), places), shape=(len(queries), len(vectors)))
        return torch.from_numpy(weights @ vectors.numpy()), torch.from_numpy(weights.T @ queries.numpy()), None, None
