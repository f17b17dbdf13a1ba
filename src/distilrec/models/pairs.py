"""Vectors of chosen places and scores of chosen pairs, with gradients that are fast on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from scipy.sparse import coo_array
from torch import Tensor
from torch.nn.functional import embedding_bag

__all__ = ["look_up", "pair_scores"]

# Pairs whose vectors are gathered at once: few enough to stay in a processor's cache, and many for one call.
PAIRS = 4096


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
    each_one = len(rows) == len(queries) and torch.equal(rows, torch.arange(len(rows)))
    targets = queries if each_one else look_up(queries, rows)
    scores: Tensor = _PairScores.apply(targets, vectors, items)  # type: ignore[no-untyped-call]
    return scores


class _PairScores(torch.autograd.Function):
    """Scores (T, C) of queries (T, D); makes no (T, C, D) array, of vectors or gradients, whose traffic costs most."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, vectors: Tensor, items: Tensor) -> Tensor:
        ctx.save_for_backward(queries, vectors, items)
        columns = items.T.contiguous()
        scores = queries.new_empty(columns.shape)
        for begin in range(0, len(items), PAIRS):
            part = slice(begin, begin + PAIRS)
            for column, found in zip(columns, scores, strict=True):
                torch.linalg.vecdot(queries[part], vectors.index_select(0, column[part]), out=found[part])
        return scores.T

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        queries, vectors, items = ctx.saved_tensors
        weights = gradient.contiguous()
        of_queries = embedding_bag(items, vectors, per_sample_weights=weights, mode="sum")
        places = items.numpy().ravel(), torch.arange(len(items)).repeat_interleave(items.shape[1]).numpy()
        by_item = coo_array((weights.numpy().ravel(), places), shape=(len(vectors), len(queries)))
        return of_queries, torch.from_numpy(by_item @ queries.numpy()), None
