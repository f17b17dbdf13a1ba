"""Losses that take each item by itself: its score is the log-odds that the user takes it."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn.functional import softplus

from distilrec.losses._common import (
    check_reduction,
    check_scores,
    check_temperature,
    reduced,
    row_weights,
    weighted_mean,
)

__all__ = ["soft_binary_cross_entropy", "weighted_log_sigmoid"]


def soft_binary_cross_entropy(
    student_scores: Tensor,
    teacher_scores: Tensor,
    mask: Tensor,
    *,
    temperature: float = 1.0,
    shift: float = 0.0,
    weights: Tensor | None = None,
    reduction: Literal["mean", "sum"] = "mean",
) -> Tensor:
    """Mean over rows and candidates of -q log sigma(s) - (1 - q) log(1 - sigma(s)), q = sigma((t + shift) / tau).

    student_scores, teacher_scores: (B, C). mask: (B, C) bool, True where the candidate counts; what stands elsewhere
    has no influence, be it NaN. temperature: tau, above 0, of the teacher alone; a large one draws q towards 1/2.
    shift: in units of the teacher's scores; q is 1/2 at a score of -shift. weights: (B,), at least 0, or None.
    reduction: "sum" is over rows and candidates; "mean" is the mean over rows of the mean over candidates. Rows without
    candidates don't count. Least at s = (t + shift) / tau, where it is the entropy of q.
    Raises ValueError or TypeError on arguments that don't fit, SoftLabelError on a teacher's NaN or infinity.

    Source: Lee et al., Collaborative Distillation, ICDM 2019. The student's scores aren't divided by the temperature.

    >>> import torch
    >>> student, teacher = torch.tensor([[0.0]]), torch.tensor([[1.0]])
    >>> loss = soft_binary_cross_entropy(student, teacher, torch.tensor([[True]]), shift=-1.0)
    >>> round(loss.item(), 4)  # log 2
    0.6931
    """
    where = "soft_binary_cross_entropy"
    check_scores(where, student_scores, "teacher_scores", teacher_scores, mask)
    check_temperature(where, temperature)
    target = ((teacher_scores.detach() + shift) / temperature).sigmoid()
    student = student_scores.masked_fill(~mask, 0.0)
    loss = (softplus(student) - target * student).masked_fill(~mask, 0.0).sum(1)
    return reduced(where, loss, mask.sum(1), weights, reduction)


def weighted_log_sigmoid(
    student_scores: Tensor,
    place_weights: Tensor,
    mask: Tensor,
    *,
    weights: Tensor | None = None,
    reduction: Literal["mean", "sum"] = "mean",
) -> Tensor:
    """Mean over rows of -sum_c w_c log sigma(s_c): the candidates are to be taken, each as its weight says.

    student_scores: (B, C). place_weights: (B, C), at least 0; nothing flows back into them. mask: (B, C) bool, True
    where the candidate counts. weights: (B,), at least 0, or None. reduction: "sum" is over rows. Rows without
    candidates don't count.
    Raises ValueError or TypeError on arguments that don't fit, SoftLabelError on weights that are NaN or infinite.

    Source: Tang and Wang, Ranking Distillation, KDD 2018; a mean over rows, as in their code.

    >>> import torch
    >>> weights, mask = torch.tensor([[0.5, 0.25]]), torch.ones(1, 2, dtype=torch.bool)
    >>> round(weighted_log_sigmoid(torch.zeros(1, 2), weights, mask).item(), 4)  # 0.75 log 2
    0.5199
    """
    where = "weighted_log_sigmoid"
    check_scores(where, student_scores, "place_weights", place_weights, mask)
    check_reduction(where, reduction)
    if bool((place_weights.masked_fill(~mask, 0.0) < 0).any()):
        raise ValueError(f"{where}: place_weights must be at least 0; the student would unlearn the list")
    loss = (place_weights.detach() * softplus(-student_scores.masked_fill(~mask, 0.0))).masked_fill(~mask, 0.0).sum(1)
    of_rows = row_weights(where, mask, weights)
    return (loss * of_rows).sum() if reduction == "sum" else weighted_mean(where, loss, of_rows)
