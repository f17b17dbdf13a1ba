"""Losses against the order in which the teacher puts items."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from distilrec.losses._common import check_mask, check_scores, check_shape, reduced

__all__ = ["listed_first", "ordered_plackett_luce", "permutation_cross_entropy", "plackett_luce"]

# Takes part in no sum, and unlike -inf has a gradient.
_NOTHING = -1e30


def listed_first(
    student_scores: Tensor,
    teacher_scores: Tensor,
    mask: Tensor,
    *,
    listed: int,
    weights: Tensor | None = None,
    reduction: Literal["mean", "sum"] = "mean",
) -> Tensor:
    """How improbable each of the teacher's best is beside all others, whatever their order among themselves.

    -sum_{k <= listed} [s_k - log(exp s_k + sum_n exp s_n)], n the candidates that aren't listed.

    Arguments, reduction and errors are those of `plackett_luce`; where nothing is left beside the list it is 0.

    Source: Kang et al., HetComp, WWW 2023: the objective of its code until the teachers' last checkpoints are reached.

    >>> scores, mask = torch.zeros(1, 3), torch.ones(1, 3, dtype=torch.bool)
    >>> round(listed_first(scores, torch.tensor([[3.0, 2.0, 1.0]]), mask, listed=2).exp().item(), 4)
    2.0
    """
    where = "listed_first"
    check_scores(where, student_scores, "teacher_scores", teacher_scores, mask)
    shape = tuple(student_scores.shape)
    if listed < 1:
        raise ValueError(f"{where}: expected listed of at least 1, given {listed}")
    order = teacher_scores.detach().masked_fill(~mask, -torch.inf).argsort(dim=1, descending=True, stable=True)
    counts = mask.gather(1, order)
    ordered = student_scores.gather(1, order).masked_fill(~counts, _NOTHING)
    placed, others = counts[:, :listed], ordered[:, listed:]
    rest = others.logsumexp(1, keepdim=True) if others.shape[1] else ordered.new_full((shape[0], 1), _NOTHING)
    loss = softplus(rest - ordered[:, :listed]).masked_fill(~placed, 0.0).sum(1)
    return reduced(where, loss, placed.sum(1), weights, reduction)


def plackett_luce(
    student_scores: Tensor,
    teacher_scores: Tensor,
    mask: Tensor,
    *,
    listed: int | None = None,
    weights: Tensor | None = None,
    reduction: Literal["mean", "sum"] = "mean",
) -> Tensor:
    """How improbable the teacher's order is, if the student draws items one by one by softmax of its scores.

    -sum_{k <= listed} [s_k - log(sum_{j >= k} exp s_j + sum_n exp s_n)], k in the teacher's order, n the candidates
    that aren't listed: they come below, in any order.

    student_scores, teacher_scores: (B, C); of the teacher's only the order counts, equal scores in the order given.
    mask: (B, C) bool, True where the candidate counts. listed: how many of the teacher's best are ranked; None takes
    all. weights: (B,), at least 0, or None. reduction: "sum" is the original, over places and rows; "mean" is the mean
    over rows of the mean over a row's places, so that lambda depends neither on the batch nor on the list's length.
    Rows without candidates don't count.
    Raises ValueError or TypeError on arguments that don't fit, SoftLabelError on a teacher's NaN or infinity.

    Source: Xia et al., ICML 2008 (ListMLE); with unlisted items Kang et al., DE-RRD, CIKM 2020, whose code
    takes the logarithm of a cumulative sum, and overflows where this doesn't.

    >>> scores, mask = torch.zeros(1, 3), torch.ones(1, 3, dtype=torch.bool)
    >>> round(plackett_luce(scores, torch.tensor([[3.0, 2.0, 1.0]]), mask, reduction="sum").exp().item(), 4)  # 3!
    6.0
    """
    where = "plackett_luce"
    check_scores(where, student_scores, "teacher_scores", teacher_scores, mask)
    shape = tuple(student_scores.shape)
    n_listed = shape[1] if listed is None else min(listed, shape[1])
    if n_listed < 1:
        raise ValueError(f"{where}: expected listed of at least 1, given {listed}")
    order = teacher_scores.detach().masked_fill(~mask, -torch.inf).argsort(dim=1, descending=True, stable=True)
    scores, counts = student_scores.gather(1, order), mask.gather(1, order)
    return ordered_plackett_luce(
        scores[:, :n_listed], counts[:, :n_listed], scores[:, n_listed:], counts[:, n_listed:],
        weights=weights, reduction=reduction,
    )  # fmt: skip


def ordered_plackett_luce(
    ranked_scores: Tensor,
    ranked_mask: Tensor,
    other_scores: Tensor,
    other_mask: Tensor,
    *,
    weights: Tensor | None = None,
    reduction: Literal["mean", "sum"] = "mean",
) -> Tensor:
    """`plackett_luce` of candidates that are in order already, and of others that come below them in any order.

    ranked_scores: (B, K), the student's, in the order to be learned. other_scores: (B, O); O may be 0. ranked_mask,
    other_mask: bool, True where the candidate counts; what is masked has no place, wherever it stands. Weights,
    reduction and errors are those of `plackett_luce`; rows without ranked candidates don't count.

    >>> scores, mask = torch.zeros(1, 3), torch.ones(1, 3, dtype=torch.bool)
    >>> loss = ordered_plackett_luce(scores[:, :1], mask[:, :1], scores[:, 1:], mask[:, 1:])
    >>> round(loss.exp().item(), 4)  # one of three
    3.0
    """
    where = "ordered_plackett_luce"
    check_shape(f"{where}: ranked_scores", ranked_scores, (-1, -1), "rows must be queries, columns candidates")
    check_shape(f"{where}: other_scores", other_scores, (len(ranked_scores), -1), "others would be those of other rows")
    check_mask(f"{where}: ranked_mask", ranked_mask, tuple(ranked_scores.shape))
    check_mask(f"{where}: other_mask", other_mask, tuple(other_scores.shape))
    ranked = ranked_scores.masked_fill(~ranked_mask, _NOTHING)
    others = other_scores.masked_fill(~other_mask, _NOTHING)
    # From the last place to the first: (B, K), in each the log of what could have come there.
    below = others.logsumexp(1, keepdim=True) if others.shape[1] > 0 else others
    possible = torch.cat([below, ranked.flip(1)], dim=1).logcumsumexp(1)[:, below.shape[1] :].flip(1)
    loss = (possible - ranked).masked_fill(~ranked_mask, 0.0).sum(1)
    return reduced(where, loss, ranked_mask.sum(1), weights, reduction)


def permutation_cross_entropy(
    student_scores: Tensor,
    teacher_scores: Tensor,
    mask: Tensor,
    noise: Tensor,
    *,
    top: int,
    others: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """How improbable the student finds the first places of permutations drawn from the teacher's scores.

    Both draw candidates one by one by softmax of their scores; the mean over permutations estimates the cross-entropy
    of the teacher's distribution over the first `top` places and the student's.

    student_scores, teacher_scores: (B, C) logits. mask: (B, C) bool, True where the candidate counts. noise: (S, B, C),
    standard Gumbel, one layer for each permutation, which is the order of teacher_scores + noise. top: k, how many
    places count. others: (B,), the log-sum-exp of the student's scores of whatever comes after all candidates, in any
    order; None if nothing does. weights: (B,), at least 0, or None.
    A mean over rows of the mean over permutations and over a row's places; rows without candidates don't count.
    Raises ValueError or TypeError on arguments that don't fit, SoftLabelError on a teacher's NaN or infinity.

    Source: after Reddi et al., RankDistil, AISTATS 2021, as TF-Ranking computes it (`CoupledRankDistilLoss`).
    Deviations: a mean over places, where theirs is a sum; places without candidate drop out, where theirs give them
    scores of log(1e-10); `others`.

    >>> scores, mask = torch.zeros(1, 3), torch.ones(1, 3, dtype=torch.bool)
    >>> round(permutation_cross_entropy(scores, scores, mask, torch.zeros(1, 1, 3), top=1).exp().item(), 4)
    3.0
    """
    where = "permutation_cross_entropy"
    check_scores(where, student_scores, "teacher_scores", teacher_scores, mask)
    shape = tuple(student_scores.shape)
    check_shape(f"{where}: noise", noise, (-1, *shape), "permutations would be those of other rows")
    if top < 1:
        raise ValueError(f"{where}: expected top of at least 1, given {top}")
    keys = (teacher_scores.detach() + noise).masked_fill(~mask, -torch.inf)
    first = keys.topk(min(top, shape[1]), dim=2).indices  # (S, B, k), in the order drawn
    counts = mask.expand_as(keys).gather(2, first)
    scores = student_scores.masked_fill(~mask, _NOTHING).expand_as(keys)
    placed = scores.gather(2, first)
    after = scores.scatter(2, first, _NOTHING).logsumexp(2)
    if others is not None:
        check_shape(f"{where}: others", others, shape[:1], "they would come after other rows")
        after = torch.logaddexp(after, others)
    # From the last place to the first: the log of what could have come there.
    possible = torch.cat([after.unsqueeze(2), placed.flip(2)], dim=2).logcumsumexp(2)[:, :, 1:].flip(2)
    loss = (possible - placed).masked_fill(~counts, 0.0).sum(2).mean(0)
    return reduced(where, loss, counts[0].sum(1), weights, "mean")
