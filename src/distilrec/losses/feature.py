"""Losses against the teacher's hidden states."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from distilrec.losses._common import check_finite, check_shape, weighted_mean

__all__ = ["knowledge"]


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
    if reduction not in ("mean", "sum"):
        raise ValueError(f"knowledge: reduction must be 'mean' or 'sum', given {reduction!r}")
    check_finite("knowledge: teacher_hidden", teacher_hidden)
    square = 0.5 * (teacher_hidden.detach() - student_hidden).square()  # (B, D)
    if reduction == "mean":
        return weighted_mean("knowledge", square.mean(1), weights)
    if weights is None:
        return square.sum()
    check_shape("knowledge: weights", weights, (len(square),), "weights would multiply other rows")
    return (square.sum(1) * weights).sum()
