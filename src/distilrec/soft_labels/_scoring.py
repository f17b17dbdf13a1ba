"""The teacher's answers to a block of queries, checked and masked."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from distilrec.ranking import queries_at_once
from distilrec.scoring import DotProduct, HiddenStates, Queries, Recommender
from distilrec.soft_labels.checks import check_items, check_scores, check_states

__all__ = ["answer", "answer_with_states", "blocks", "factors", "mask_seen"]


def blocks(start: int, stop: int, n_items: int) -> Iterator[slice]:
    """Slices of [start, stop) of as many queries as are scored at once."""
    size = queries_at_once(n_items)
    for begin in range(start, stop, size):
        yield slice(begin, min(begin + size, stop))


def answer(teacher: Recommender, queries: Queries) -> Tensor:
    """Scores (B, N) float32, all finite."""
    with torch.inference_mode():
        scores = teacher.score(queries)
        check_scores(scores, queries, teacher.n_items)
        return scores.float()


def factors(teacher: DotProduct) -> tuple[Tensor, Tensor]:
    """Item vectors (N, D) and biases (N,), zeros if there are none, float32."""
    with torch.inference_mode():
        vectors, bias = teacher.item_vectors(), teacher.item_bias()
        check_items(teacher, vectors, bias)
        vectors = vectors.float()
        return vectors, vectors.new_zeros(len(vectors)) if bias is None else bias.float()


def answer_with_states(
    teacher: HiddenStates,
    queries: Queries,
    item_factors: tuple[Tensor, Tensor] | None = None,
    place: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Scores (B, N) and hidden states (B, D) float32, all finite.

    item_factors: what `factors` gives, if the teacher is a DotProduct: to encode a query is the expensive
    part of most teachers, so it is done once. place: (>= B, N), where these scores are put, since large blocks of fresh
    memory cost more than the product.
    """
    with torch.inference_mode():
        states = teacher.hidden(queries)
        check_states(states, len(queries), teacher.width)
        states = states.float()
        if item_factors is None:
            assert isinstance(teacher, Recommender)
            return answer(teacher, queries), states
        vectors, bias = item_factors
        scores = torch.addmm(bias, states, vectors.T, out=None if place is None else place[: len(states)])
        check_scores(scores, queries, len(vectors))
        return scores, states


def mask_seen(scores: Tensor, queries: Queries) -> Tensor:
    """The scores (B, N), overwritten by -inf in the place of the items to be masked."""
    rows, items = queries.masked.flat()
    where = torch.from_numpy(rows), torch.from_numpy(items).long()
    with torch.inference_mode():
        return scores.index_put_([part.to(scores.device) for part in where], scores.new_tensor(-torch.inf))
