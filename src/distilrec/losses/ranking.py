"""Losses against the order in which the teacher puts items."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from distilrec.losses._common import check_finite, check_mask, check_shape, weighted_mean

__all__ = ["listed_first", "plackett_luce"]

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
    check_shape(f"{where}: student_scores", student_scores, (-1, -1), "rows must be queries, columns candidates")
    shape = tuple(student_scores.shape)
    check_shape(f"{where}: teacher_scores", teacher_scores, shape, "the student would learn the list of other items")
    check_mask(f"{where}: mask", mask, shape)
    check_finite(f"{where}: teacher_scores", teacher_scores, mask)
    if listed < 1 or reduction not in ("mean", "sum"):
        raise ValueError(f"{where}: expected listed of at least 1 and reduction 'mean' or 'sum', given "
                         f"{listed} and {reduction!r}")  # fmt: skip
    order = teacher_scores.detach().masked_fill(~mask, -torch.inf).argsort(dim=1, descending=True, stable=True)
    counts = mask.gather(1, order)
    ordered = student_scores.gather(1, order).masked_fill(~counts, _NOTHING)
    placed, others = counts[:, :listed], ordered[:, listed:]
    rest = others.logsumexp(1, keepdim=True) if others.shape[1] else ordered.new_full((shape[0], 1), _NOTHING)
    loss = softplus(rest - ordered[:, :listed]).masked_fill(~placed, 0.0).sum(1)
    lengths = placed.sum(1)
    row_weights = (lengths > 0).float()
    if weights is not None:
        check_shape(f"{where}: weights", weights, (shape[0],), "weights would multiply other rows")
        row_weights = row_weights * weights
    if reduction == "sum":
        return (loss * row_weights).sum()
    return weighted_mean(where, loss / lengths.clamp(min=1), row_weights)


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

    Source: Xia et al., ICML 2008 (ListMLE); with unlisted items Kang et al., DE-RRD, CIKM 2020, equation 8, whose code
    takes the logarithm of a cumulative sum, and overflows where this doesn't.

    >>> scores, mask = torch.zeros(1, 3), torch.ones(1, 3, dtype=torch.bool)
    >>> round(plackett_luce(scores, torch.tensor([[3.0, 2.0, 1.0]]), mask, reduction="sum").exp().item(), 4)  # 3!
    6.0
    """
    where = "plackett_luce"
    check_shape(f"{where}: student_scores", student_scores, (-1, -1), "rows must be queries, columns candidates")
    shape = tuple(student_scores.shape)
    check_shape(f"{where}: teacher_scores", teacher_scores, shape, "the student would learn the order of other items")
    check_mask(f"{where}: mask", mask, shape)
    check_finite(f"{where}: teacher_scores", teacher_scores, mask)
    n_listed = shape[1] if listed is None else min(listed, shape[1])
    if n_listed < 1 or reduction not in ("mean", "sum"):
        raise ValueError(f"{where}: expected listed of at least 1 and reduction 'mean' or 'sum', given "
                         f"{listed} and {reduction!r}")  # fmt: skip
    order = teacher_scores.detach().masked_fill(~mask, -torch.inf).argsort(dim=1, descending=True, stable=True)
    counts = mask.gather(1, order)
    ordered = student_scores.gather(1, order).masked_fill(~counts, _NOTHING)
    # From the last place to the first: (B, listed), in each the log of what could have come there.
    below = ordered[:, n_listed:].logsumexp(1, keepdim=True) if n_listed < shape[1] else ordered[:, :0]
    reverse = torch.cat([below, ordered[:, :n_listed].flip(1)], dim=1)
    possible = reverse.logcumsumexp(1)[:, below.shape[1] :].flip(1)
    placed = counts[:, :n_listed]
    loss = (possible - ordered[:, :n_listed]).masked_fill(~placed, 0.0).sum(1)
    lengths = placed.sum(1)
    row_weights = (lengths > 0).float()
    if weights is not None:
        check_shape(f"{where}: weights", weights, (shape[0],), "weights would multiply other rows")
        row_weights = row_weights * weights
    if reduction == "sum":
        return (loss * row_weights).sum()
    return weighted_mean(where, loss / lengths.clamp(min=1), row_weights)
