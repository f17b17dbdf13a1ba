"""Losses against the teacher's output: cross-entropy and KL divergence to its soft labels.

In all of them the student comes first, and nothing flows back into the teacher's side. For joint training
call them twice, with the roles exchanged.
"""

from __future__ import annotations

import torch
from torch import Tensor

from distilrec.errors import SoftLabelError
from distilrec.losses._common import (
    check_distribution,
    check_finite,
    check_mask,
    check_scores,
    check_shape,
    check_temperature,
    masked_log_softmax,
    row_weights,
    weighted_mean,
)

__all__ = [
    "cross_entropy",
    "cross_entropy_with_logits",
    "sampled_soft_label_kl",
    "soft_label_kl",
    "soft_label_kl_with_tail",
    "tail_log_sum_exp",
]

# Stored scores are rounded, so the probabilities of the stored items may add up to a little over one.
_LOG_MASS_TOLERANCE = 0.05


def cross_entropy(student_probabilities: Tensor, teacher_probabilities: Tensor) -> Tensor:
    """Mean over rows of -sum_c teacher_c log student_c: the mission's L_raw, on probabilities.

    student_probabilities, teacher_probabilities: (B, C), each row adding up to 1. The original is a sum over
    rows. A student's probability of 0 counts as the smallest normal number; where logits are at hand use
    `cross_entropy_with_logits`, which needs no such floor.
    Raises ValueError on shapes that don't fit and SoftLabelError when rows of the teacher don't add up to 1.

    >>> student, teacher = torch.tensor([[0.8, 0.2]]), torch.tensor([[0.9, 0.1]])
    >>> round(cross_entropy(student, teacher).item(), 5)
    0.36177
    """
    where = "cross_entropy"
    check_shape(f"{where}: student_probabilities", student_probabilities, (-1, -1), "rows must be queries")
    _check_like(f"{where}: teacher_probabilities", teacher_probabilities, student_probabilities)
    check_distribution(
        f"{where}: teacher_probabilities", teacher_probabilities, "for scores use cross_entropy_with_logits"
    )
    floor = torch.finfo(student_probabilities.dtype).tiny
    loss = -(teacher_probabilities.detach() * student_probabilities.clamp_min(floor).log()).sum(1)
    return weighted_mean(where, loss, None)


def cross_entropy_with_logits(
    student_scores: Tensor,
    teacher_scores: Tensor,
    mask: Tensor,
    *,
    temperature: float = 1.0,
    weights: Tensor | None = None,
) -> Tensor:
    """temperature^2 times the mean over rows of CE(softmax(t / temperature), softmax(s / temperature)).

    Arguments, errors and reduction are those of `soft_label_kl`, from which it differs by the teacher's
    entropy: another value, the same gradient. At temperature 1 it is the mission's L_raw, on logits.

    >>> student, teacher = torch.tensor([[0.8, 0.2]]).log(), torch.tensor([[0.9, 0.1]]).log()
    >>> round(cross_entropy_with_logits(student, teacher, torch.ones(1, 2, dtype=torch.bool)).item(), 5)
    0.36177
    """
    where = "cross_entropy_with_logits"
    _check(where, student_scores, teacher_scores, mask, temperature)
    log_student = masked_log_softmax(student_scores / temperature, mask)
    teacher = masked_log_softmax(teacher_scores.detach() / temperature, mask).exp()
    loss = -(teacher * log_student).masked_fill(~mask, 0.0).sum(1)
    return temperature**2 * weighted_mean(where, loss, row_weights(where, mask, weights))


def soft_label_kl(
    student_scores: Tensor,
    teacher_scores: Tensor,
    mask: Tensor,
    *,
    temperature: float = 1.0,
    weights: Tensor | None = None,
) -> Tensor:
    """temperature^2 times the mean over rows of KL(softmax(t / temperature) || softmax(s / temperature)).

    student_scores, teacher_scores: (B, C) logits of the same candidates. mask: (B, C) bool, True where the
    candidate counts; what stands elsewhere has no influence, be it NaN. weights: (B,), at least 0, or None.
    temperature: above 0; the factor temperature^2 keeps the size of the gradients. Rows without candidates
    don't count; a row with one candidate gives 0, since its distribution is known. Softmax stays in log
    space: in float32 its own value underflows when the spread of scores exceeds 100 temperatures, its
    logarithm doesn't.
    Raises ValueError or TypeError on arguments that don't fit, SoftLabelError on a teacher's NaN or infinity.

    Source: Hinton et al. 2015, section 2; their cross-entropy less the teacher's entropy, averaged over rows.

    >>> scores, mask = torch.tensor([[2.0, 0.0]]), torch.ones(1, 2, dtype=torch.bool)
    >>> soft_label_kl(scores + 7, scores, mask).abs().item() < 1e-6
    True
    """
    _check("soft_label_kl", student_scores, teacher_scores, mask, temperature)
    loss = _kl(student_scores / temperature, teacher_scores.detach() / temperature, mask)
    return temperature**2 * weighted_mean("soft_label_kl", loss, row_weights("soft_label_kl", mask, weights))


def sampled_soft_label_kl(
    student_scores: Tensor,
    teacher_scores: Tensor,
    mask: Tensor,
    inclusion_probability: Tensor,
    *,
    temperature: float = 1.0,
    weights: Tensor | None = None,
) -> Tensor:
    """`soft_label_kl` over all items, estimated from the top-K and a sample of the tail.

    inclusion_probability: (B, C), in (0, 1]: how probable it was that the candidate would be in the sample; 1
    for those that are always there. Each candidate stands for 1 / inclusion_probability items, in the
    teacher's sums as in the student's. Both sums over the tail are thereby unbiased; the divergence, a
    function of them, is consistent. With all items present and probability 1 it is exact. The other
    arguments, the reduction and the errors are those of `soft_label_kl`.

    Source: Horvitz and Thompson 1952, applied to the normaliser and to the expectation in Hinton et al. 2015.

    >>> scores, mask = torch.tensor([[2.0, 0.0]]), torch.ones(1, 2, dtype=torch.bool)
    >>> sampled_soft_label_kl(scores, scores, mask, torch.tensor([[1.0, 0.1]])).item()
    0.0
    """
    where = "sampled_soft_label_kl"
    _check(where, student_scores, teacher_scores, mask, temperature)
    _check_like(f"{where}: inclusion_probability", inclusion_probability, student_scores)
    if not bool((((inclusion_probability > 0) & (inclusion_probability <= 1)) | ~mask).all()):
        raise SoftLabelError(f"{where}: inclusion_probability must lie in (0, 1]; what couldn't be drawn has no weight")
    log_weight = -inclusion_probability.masked_fill(~mask, 1.0).log()
    student = student_scores / temperature + log_weight
    loss = _kl(student, teacher_scores.detach() / temperature + log_weight, mask)
    return temperature**2 * weighted_mean(where, loss, row_weights(where, mask, weights))


def soft_label_kl_with_tail(
    student_scores: Tensor,
    teacher_scores: Tensor,
    mask: Tensor,
    student_tail_log_sum_exp: Tensor,
    teacher_log_sum_exp: Tensor,
    *,
    temperature: float = 1.0,
    weights: Tensor | None = None,
) -> Tensor:
    """`soft_label_kl` over the candidates and one class more: all other items together.

    teacher_log_sum_exp: (B,), log sum exp(t / temperature) over all items, as a store of
    soft labels holds it.
    student_tail_log_sum_exp: (B,), log sum exp(s / temperature) over the items that aren't candidates, as
    `tail_log_sum_exp` computes it; -inf where there are none. Not over all items: what is left after
    subtracting the candidates has no digits, and so no gradient, when the student is sure of itself.
    The other arguments, the reduction and the errors are those of `soft_label_kl`; SoftLabelError also when
    the candidates hold more than all of the teacher's mass, the sign of a log-sum-exp at another temperature.

    Source: the divergence of Hinton et al. 2015 after merging the tail into one class. Merging never makes it
    larger, and says nothing of the order within the tail.

    >>> student, teacher = torch.tensor([[2.0, 0.0, 1.0]]), torch.tensor([[1.0, 0.0, 3.0]])
    >>> items, mask = torch.tensor([[2]]), torch.tensor([[True]])
    >>> loss = soft_label_kl_with_tail(
    ...     student[:, 2:], teacher[:, 2:], mask, tail_log_sum_exp(student, items, mask), teacher.logsumexp(1)
    ... )
    >>> round(loss.item(), 4)
    0.7983
    """
    where = "soft_label_kl_with_tail"
    _check(where, student_scores, teacher_scores, mask, temperature)
    rows = (len(student_scores),)
    check_shape(f"{where}: student_tail_log_sum_exp", student_tail_log_sum_exp, rows, "one per row is needed")
    check_shape(f"{where}: teacher_log_sum_exp", teacher_log_sum_exp, rows, "one per row is needed")
    some = mask.any(1)
    check_finite(f"{where}: teacher_log_sum_exp", teacher_log_sum_exp, some)
    total = teacher_log_sum_exp.detach().masked_fill(~some, 0.0).unsqueeze(1)
    # The teacher's logarithms of probabilities, (B, C) and then (B, C + 1).
    teacher = torch.where(mask, teacher_scores.detach() / temperature - total, -torch.inf)
    teacher_tail = _log_tail_mass(where, teacher.logsumexp(1))
    has_tail = student_tail_log_sum_exp > -torch.inf
    student = torch.cat([student_scores / temperature, student_tail_log_sum_exp.unsqueeze(1)], dim=1)
    teacher = torch.cat([teacher, teacher_tail.unsqueeze(1)], dim=1)
    loss = _kl(student, teacher, torch.cat([mask, has_tail.unsqueeze(1)], dim=1))
    return temperature**2 * weighted_mean(where, loss, row_weights(where, mask, weights))


def tail_log_sum_exp(scores: Tensor, items: Tensor, mask: Tensor, *, temperature: float = 1.0) -> Tensor:
    """(B,): log sum exp(score / temperature) over the items that aren't candidates; -inf if there are none.

    scores: (B, N); -inf rules an item out, such as those seen, if the teacher's were ruled out. items: (B, C)
    int64, the candidates, in [0, N) even where masked. mask: (B, C) bool, True where the candidate counts.
    Raises ValueError or TypeError on arguments that don't fit.

    >>> scores, mask = torch.zeros(1, 4), torch.tensor([[True, False]])
    >>> tail_log_sum_exp(scores, torch.tensor([[0, 1]]), mask).exp().round().item()
    3.0
    """
    where = "tail_log_sum_exp"
    check_shape(f"{where}: scores", scores, (-1, -1), "each row must hold a score for each item")
    check_shape(f"{where}: items", items, (len(scores), -1), "candidates would be those of other rows")
    check_mask(f"{where}: mask", mask, tuple(items.shape))
    check_temperature(where, temperature)
    # Counted, since a masked candidate may be padded with an item that is a candidate elsewhere in the row.
    counts = torch.zeros_like(scores, dtype=torch.int32).scatter_add_(1, items, mask.int())
    tail = (scores / temperature).masked_fill(counts > 0, -torch.inf)
    # The gradient of logsumexp is NaN when nothing is left, even where its value isn't used.
    empty = (tail == -torch.inf).all(1)
    return tail.masked_fill(empty.unsqueeze(1), 0.0).logsumexp(1).masked_fill(empty, -torch.inf)


def _kl(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """(B,): KL(softmax(teacher) || softmax(student)) over the unmasked logits (B, C)."""
    log_student, log_teacher = masked_log_softmax(student, mask), masked_log_softmax(teacher, mask)
    return (log_teacher.exp() * (log_teacher - log_student)).masked_fill(~mask, 0.0).sum(1)


def _log_tail_mass(where: str, log_head: Tensor) -> Tensor:
    """log(1 - exp(log_head)), (B,); at least the log of what float can tell from nothing."""
    if bool((log_head > _LOG_MASS_TOLERANCE).any()):
        raise SoftLabelError(
            f"{where}: the candidates hold {log_head.max().exp().item():.3g} of the teacher's probability, "
            "more than all of it; give the log-sum-exp of its scores / temperature, over all items"
        )
    head = log_head.exp().clamp(max=1.0)
    return (1.0 - head).clamp_min(torch.finfo(head.dtype).eps).log()


def _check(where: str, student: Tensor, teacher: Tensor, mask: Tensor, temperature: float) -> None:
    check_scores(where, student, "teacher_scores", teacher, mask)
    check_temperature(where, temperature)


def _check_like(where: str, tensor: Tensor, student: Tensor) -> None:
    check_shape(where, tensor, tuple(student.shape), "the student would learn the scores of other items")
