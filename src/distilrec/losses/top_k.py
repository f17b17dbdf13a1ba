"""Losses of what is among the first k, whatever its order there."""

from __future__ import annotations

import torch
from torch import Tensor

from distilrec.losses._common import (
    check_mask,
    check_scores,
    check_shape,
    check_temperature,
    row_weights,
    weighted_mean,
)

__all__ = ["missed_recall", "soft_top_k"]

# Newton's steps within a bracket that halves when they leave it; five or six are the rule.
MOST_STEPS = 40


def soft_top_k(scores: Tensor, mask: Tensor, k: int, *, temperature: float = 1.0) -> Tensor:
    """(B, C), in [0, 1]: how far each candidate is among its row's k best; rows add up to k, but for rounding.

    sigmoid((score - threshold) / temperature), the row's threshold being the one at which they add up to k. Rows with
    at most k candidates are 1 throughout. A constant added to a row changes nothing, and the gradients of a row's sum
    are 0. scores: (B, C), finite where mask (B, C) bool is True; the rest is 0. temperature: of the student's scores,
    above 0; towards 0 this becomes the indicator of the k best.
    Raises ValueError or TypeError on arguments that don't fit.

    Source: the solution of max_x <scores, x> + temperature * sum of binary entropies of x, subject to sum x = k, which
    is entropic optimal transport to two targets (Xie et al., Differentiable Top-k with Optimal Transport, NeurIPS
    2020). Gradients are those of the solution, by the implicit function theorem, not of the iterations.

    >>> scores, mask = torch.tensor([[3.0, 1.0, 1.0, -9.0]]), torch.ones(1, 4, dtype=torch.bool)
    >>> soft_top_k(scores, mask, 2, temperature=0.1)
    tensor([[1.0000, 0.5000, 0.5000, 0.0000]])
    """
    where = "soft_top_k"
    check_shape(f"{where}: scores", scores, (-1, -1), "rows must be queries, columns candidates")
    check_mask(f"{where}: mask", mask, tuple(scores.shape))
    check_temperature(where, temperature)
    if k < 1:
        raise ValueError(f"{where}: expected k of at least 1, given {k}")
    if scores.shape[1] == 0:
        return scores
    # From the row's best, so that large scores lose no digits.
    best = scores.detach().masked_fill(~mask, -torch.inf).amax(1, keepdim=True).nan_to_num(neginf=0.0)
    filled = (scores - best).masked_fill(~mask, 0.0) / temperature
    counts = mask.sum(1, keepdim=True)
    threshold = _threshold(filled.detach(), mask, counts, k)
    soft = torch.sigmoid(filled.detach() - threshold)
    slope = (soft * (1 - soft)).masked_fill(~mask, 0.0)
    share = slope / slope.sum(1, keepdim=True).clamp(min=torch.finfo(slope.dtype).tiny)
    # Of value `threshold`, and with its gradients.
    moving = threshold + ((filled - filled.detach()) * share).sum(1, keepdim=True)
    return torch.where(counts > k, torch.sigmoid(filled - moving), 1.0).masked_fill(~mask, 0.0)


def missed_recall(
    student_scores: Tensor,
    probabilities: Tensor,
    mask: Tensor,
    k: int,
    *,
    temperature: float = 1.0,
    weights: Tensor | None = None,
) -> Tensor:
    """Mean over rows of the sum of probability * (1 - membership in the student's soft top k): recall that is missed.

    student_scores: (B, C). probabilities: (B, C), at least 0, of the candidate being what the query is after, by the
    teacher; 1 minus this loss, plus what isn't among the candidates, is the recall@k that the teacher expects of the
    student. Candidates should hold the student's k best and more, else others than its k best count as such. mask: (B,
    C) bool, True where the candidate counts. k: of the list to be shown. temperature: see `soft_top_k`. weights: (B,),
    at least 0, or None. Rows without candidates don't count.
    Raises ValueError or TypeError on arguments that don't fit, SoftLabelError on NaN or infinite probabilities.

    >>> scores, p = torch.tensor([[9.0, 5.0, 1.0]]), torch.tensor([[0.5, 0.1, 0.3]])
    >>> round(missed_recall(scores, p, torch.ones(1, 3, dtype=torch.bool), 2, temperature=0.1).item(), 4)
    0.3
    """
    where = "missed_recall"
    check_scores(where, student_scores, "probabilities", probabilities, mask)
    inside = soft_top_k(student_scores, mask, k, temperature=temperature)
    missed = (probabilities.detach().masked_fill(~mask, 0.0) * (1 - inside)).sum(1)
    return weighted_mean(where, missed, row_weights(where, mask, weights))


def _threshold(scores: Tensor, mask: Tensor, counts: Tensor, k: int) -> Tensor:
    """(B, 1): where sigmoid(scores - threshold) of the candidates, counts (B, 1) of them, adds up to k, if above k."""
    # Were all scores the least one, or the greatest, the threshold would be this far below it.
    margin = torch.log(k / (counts - k).clamp(min=1).to(scores.dtype))
    low = scores.masked_fill(~mask, torch.inf).amin(1, keepdim=True).nan_to_num(posinf=0.0) - margin
    high = scores.masked_fill(~mask, -torch.inf).amax(1, keepdim=True).nan_to_num(neginf=0.0) - margin
    place = scores.masked_fill(~mask, -torch.inf).topk(min(k, scores.shape[1]), dim=1).values[:, -1:]
    place = place.nan_to_num(neginf=0.0).clamp(low, high)
    tolerance = k * torch.finfo(scores.dtype).eps ** 0.5
    for _ in range(MOST_STEPS):
        soft = torch.sigmoid(scores - place).masked_fill(~mask, 0.0)
        excess = soft.sum(1, keepdim=True) - k
        near = bool((excess.abs() < tolerance)[counts > k].all())
        low, high = torch.where(excess > 0, place, low), torch.where(excess < 0, place, high)
        slope = (soft * (1 - soft)).sum(1, keepdim=True).clamp(min=torch.finfo(soft.dtype).tiny)
        newton = place + excess / slope
        place = torch.where((newton >= low) & (newton <= high), newton, (low + high) / 2)
        if near:  # so near, the step just taken squares what was left
            break
    return place
