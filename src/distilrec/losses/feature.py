"""Losses against the teacher's hidden states, and on what projects the student's into their space."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from distilrec.losses._common import (
    check_finite,
    check_mask,
    check_reduction,
    check_shape,
    check_temperature,
    masked_log_softmax,
    row_weights,
    weighted_mean,
)

__all__ = ["knowledge", "preference_consistency"]


def knowledge(
    student_hidden: Tensor,
    teacher_hidden: Tensor,
    weights: Tensor | None = None,
    *,
    reduction: Literal["mean", "sum"] = "mean",
) -> Tensor:
    """Half the squared distance between hidden states: the mission's L_knowledge.

    student_hidden: (B, D), already projected to the teacher's width. teacher_hidden: (B, D); nothing flows
    back into it. weights: (B,), at least 0; 0 where the teacher's state wasn't recorded.
    reduction: "sum" is the original, 1/2 sum_b sum_d (t - s)^2, whose lambda has to follow batch size and
    width. "mean" divides it by B and D, or by the sum of weights and D, so that lambda keeps its meaning.
    Raises ValueError on arguments that don't fit, SoftLabelError on a teacher's NaN or infinity.

    >>> import torch
    >>> student, teacher = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.6, 0.4]])
    >>> round(knowledge(student, teacher, reduction="sum").item(), 5)
    0.01
    >>> round(knowledge(student, teacher).item(), 5)
    0.005
    """
    check_shape("knowledge: student_hidden", student_hidden, (-1, -1), "rows must be queries")
    check_shape(
        "knowledge: teacher_hidden",
        teacher_hidden,
        tuple(student_hidden.shape),
        "project the student's hidden state to the teacher's width first",
    )
    check_reduction("knowledge", reduction)
    check_finite("knowledge: teacher_hidden", teacher_hidden)
    square = 0.5 * (teacher_hidden.detach() - student_hidden).square()  # (B, D)
    if reduction == "mean":
        return weighted_mean("knowledge", square.mean(1), weights)
    if weights is None:
        return square.sum()
    check_shape("knowledge: weights", weights, (len(square),), "weights would multiply other rows")
    return (square.sum(1) * weights).sum()


def preference_consistency(
    projected_scores: Tensor, own_scores: Tensor, mask: Tensor, *, temperature: float, weights: Tensor | None = None
) -> Tensor:
    """Mean over rows of CE(softmax(own / temperature), softmax(projected / temperature)): a loss of the projector.

    projected_scores, own_scores: (B, C), the student's of the same items, after and before its vectors are projected to
    the teacher's space; nothing flows back into its own. mask: (B, C) bool, True where the item counts; rows without
    items don't count. temperature: above 0. weights: (B,), at least 0, or None. NaN isn't refused: where the student
    diverges, the loss shows it.
    Raises ValueError or TypeError on arguments that don't fit.

    Source: Zhu and Zhang, TKDE 2025, list-wise, after its code; there a sum over rows.

    >>> import torch
    >>> own, projected = torch.tensor([[0.8, 0.2]]).log(), torch.zeros(1, 2)
    >>> round(preference_consistency(projected, own, torch.ones(1, 2, dtype=torch.bool), temperature=1.0).item(), 4)
    0.6931
    """
    where = "preference_consistency"
    check_shape(f"{where}: projected_scores", projected_scores, (-1, -1), "rows must be queries, columns items")
    shape = tuple(projected_scores.shape)
    check_shape(f"{where}: own_scores", own_scores, shape, "scores would be compared with those of other items")
    check_mask(f"{where}: mask", mask, shape)
    check_temperature(where, temperature)
    own = masked_log_softmax(own_scores.detach() / temperature, mask).exp()
    projected = masked_log_softmax(projected_scores / temperature, mask)
    loss = -(own * projected).masked_fill(~mask, 0.0).sum(1)
    return weighted_mean(where, loss, row_weights(where, mask, weights))
