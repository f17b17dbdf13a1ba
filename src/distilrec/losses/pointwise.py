"""Losses against the teacher's probability of each item by itself."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus

from distilrec.losses._common import check_finite, check_mask, check_shape, check_temperature, weighted_mean

__all__ = ["soft_binary_cross_entropy"]


def soft_binary_cross_entropy(
    student_scores: Tensor, teacher_scores: Tensor, mask: Tensor, *, temperature: float = 1.0
) -> Tensor:
    """Mean over candidates of BCE(sigmoid(s), sigmoid(t / temperature)), the student's own scores undivided.

    -q log sigmoid(s) - (1 - q) log(1 - sigmoid(s)), with q = sigmoid(t / temperature), into which nothing flows back.

    student_scores, teacher_scores: (B, C) logits of the same candidates. mask: (B, C) bool, True where the candidate
    counts; what stands elsewhere has no influence. temperature: above 0. No candidate: 0.
    Raises ValueError or TypeError on arguments that don't fit, SoftLabelError on a teacher's NaN or infinity.

    Source: Lee et al., ICDM 2019, and Kweon et al., WWW 2021, where it is a sum over candidates.

    >>> import torch
    >>> scores, mask = torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool)
    >>> round(soft_binary_cross_entropy(scores, scores, mask).item(), 4)  # log 2
    0.6931
    """
    where = "soft_binary_cross_entropy"
    check_shape(f"{where}: student_scores", student_scores, (-1, -1), "rows must be queries, columns candidates")
    shape = tuple(student_scores.shape)
    check_shape(f"{where}: teacher_scores", teacher_scores, shape, "the student would learn the scores of other items")
    check_mask(f"{where}: mask", mask, shape)
    check_temperature(where, temperature)
    check_finite(f"{where}: teacher_scores", teacher_scores, mask)
    targets = (teacher_scores.detach().masked_fill(~mask, 0.0) / temperature).sigmoid()
    scores = student_scores.masked_fill(~mask, 0.0)
    loss = softplus(scores) - targets * scores
    return weighted_mean(where, loss.flatten(), mask.flatten().to(loss.dtype))
