"""Where the student puts items: its best ones, and ranks estimated from a sample of the catalogue.

What a recording left out, as seen or as nothing to be told of, is left out here, too. Nothing here has gradients.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distilrec.data import Interactions, seen_at
from distilrec.distillation.method import Step
from distilrec.ranking import queries_at_once, top_k
from distilrec.scoring import Ragged
from distilrec.soft_labels import SoftLabels

__all__ = ["among", "best_items", "estimated_ranks", "highest", "left_out", "sampled_items", "told_items"]

# A candidate's score in the sample is another sum of the same products: it must not come before itself.
ROUNDING = 1e-5


def left_out(log: Interactions, labels: SoftLabels, rows: NDArray[np.int64]) -> Ragged:
    """The items that the recording left out of each row (P,) of the store, none where it is -1.

    A row's own query says what was seen, which is not the batch's where labels were shuffled.
    """
    seen = seen_at(log, labels.query_ids[rows])
    kept = (rows >= 0) & labels.manifest.filter_seen
    return Ragged(seen.starts, np.where(kept, seen.stops, seen.starts), seen.values)


def told_items(labels: SoftLabels) -> NDArray[np.int64]:
    """The items that the teacher knows and the recording tells of, ascending; not those that no query was told of."""
    untold = labels.left_out
    return np.arange(labels.manifest.n_items) if untold is None else np.flatnonzero(~untold)


@torch.no_grad()
def highest(
    hidden: Tensor,
    vectors: Tensor,
    bias: Tensor | None,
    k: int,
    seen: Ragged | None = None,
    untold: NDArray[np.bool_] | None = None,
) -> tuple[Tensor, Tensor]:
    """The k items of the highest scores, best first: items (P, k) int64 and mask (P, k).

    hidden: (P, D). vectors: (N, D). bias: (N,) or None. seen: P rows of items to leave out, or None. untold: (N,),
    items to leave out of all rows, or None. All are scored, a block of queries at a time. Fewer columns where there are
    fewer items; masked where fewer are left.
    """
    n_items = len(vectors)
    items = torch.empty((len(hidden), min(k, n_items)), dtype=torch.int64, device=hidden.device)
    values = torch.empty(items.shape, device=hidden.device)
    size = queries_at_once(n_items)
    gone = None if untold is None else torch.from_numpy(np.flatnonzero(untold)).to(hidden.device)
    for begin in range(0, len(items), size):
        part = slice(begin, begin + size)
        scores = hidden[part] @ vectors.T if bias is None else torch.addmm(bias, hidden[part], vectors.T)
        if seen is not None:
            owners, taken = seen[part].flat()
            keys = (owners * n_items + taken)[taken < n_items]
            scores.view(-1).index_fill_(0, torch.from_numpy(keys).to(scores.device), -torch.inf)
        if gone is not None:
            scores.index_fill_(1, gone, -torch.inf)
        values[part], items[part] = top_k(scores, items.shape[1])
    return items, values > -torch.inf


def best_items(step: Step, log: Interactions, k: int) -> tuple[Tensor, Tensor]:
    """The student's best k items that the teacher knows and the recording didn't leave out: as `highest` gives them.

    All masked for queries that weren't recorded.
    """
    n_items, seen = step.labels.manifest.n_items, left_out(log, step.labels, step.rows)
    hidden, vectors, bias = _detached(step)
    items, mask = highest(hidden, vectors[:n_items], bias[:n_items], k, seen, step.labels.left_out)
    return items, mask & torch.from_numpy(step.rows >= 0).to(items.device).unsqueeze(1)


def among(items: Tensor, others: Tensor, mask: Tensor) -> Tensor:
    """(B, C) bool: whether each of items (B, C) is one of its row's others (B, K) whose mask is True.

    >>> among(torch.tensor([[1, 2]]), torch.tensor([[2, 1]]), torch.tensor([[True, False]]))
    tensor([[False,  True]])
    """
    ordered = others.masked_fill(~mask, torch.iinfo(torch.int64).max).sort(dim=1).values
    places = torch.searchsorted(ordered, items.contiguous()).clamp(max=ordered.shape[1] - 1)
    return ordered.gather(1, places) == items


def sampled_items(step: Step, log: Interactions, n: int) -> tuple[Tensor, Tensor]:
    """n of the items that the recording tells of, drawn evenly and without replacement, the same for all queries.

    Returns items (M,) int64 and the student's scores of them (P, M), -inf where a query has seen the item; M is n, or
    the number of items if that is less.
    """
    told = told_items(step.labels)
    drawn = told if n >= len(told) else told[step.rng.choice(len(told), n, replace=False, shuffle=False)]
    hidden, vectors, bias = _detached(step)
    items = torch.from_numpy(drawn).to(hidden.device)
    scores = torch.addmm(bias[items], hidden, vectors[items].T)
    places = np.full(step.student.n_items, -1)
    places[drawn] = np.arange(len(drawn))
    owners, seen = left_out(log, step.labels, step.rows).flat()
    columns = places[seen]
    keys = (owners * len(drawn) + columns)[columns >= 0]
    scores.view(-1).index_fill_(0, torch.from_numpy(keys).to(scores.device), -torch.inf)
    return items, scores


@torch.no_grad()
def estimated_ranks(scores: Tensor, sampled: Tensor, n_items: int) -> Tensor:
    """(P, C): about how many of all items come before each candidate, n_items / M times those of the sample.

    scores: (P, C), finite, of the candidates. sampled: (P, M), scores of an even sample of the items, -inf for what has
    no rank. Exact where the sample is the catalogue; scores that are equal up to rounding don't come before.

    >>> estimated_ranks(torch.tensor([[5.0, 1.0]]), torch.tensor([[0.0, 2.0, 4.0, 1.0]]), n_items=8)
    tensor([[0., 4.]])
    """
    marks, order = (scores + ROUNDING * scores.abs().amax(1, keepdim=True)).sort(dim=1)
    below = torch.searchsorted(marks, sampled.contiguous())  # (P, M): over how many candidates each one comes
    n_rows, width = scores.shape
    counts = torch.zeros((n_rows, width + 1), device=scores.device)
    counts.scatter_add_(1, below, counts.new_ones(1).expand(below.shape))
    above = counts.flip(1).cumsum(1).flip(1)[:, 1:]  # (P, C), in the order of marks
    return torch.empty_like(above).scatter_(1, order, above) * (n_items / sampled.shape[1])


def _detached(step: Step) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states, item vectors and biases without gradients.

    Not made under no_grad: the step keeps the item vectors for those who need their gradients.
    """
    vectors, bias = step.item_vectors.detach(), step.student.item_bias()
    return step.hidden.detach(), vectors, vectors.new_zeros(len(vectors)) if bias is None else bias.detach()
