"""Checks, the masked softmax and the one reduction: what all losses share."""

from __future__ import annotations

import torch
from torch import Tensor

from distilrec.errors import SoftLabelError


def check_shape(where: str, tensor: Tensor, expected: tuple[int, ...], consequence: str) -> None:
    """Raise ValueError unless the tensor has the expected shape, in which -1 stands for any size."""
    given = tuple(tensor.shape)
    if len(given) != len(expected) or any(e not in (-1, g) for e, g in zip(expected, given, strict=True)):
        wanted = ", ".join("any" if e == -1 else str(e) for e in expected)
        raise ValueError(f"{where}: expected shape ({wanted}), given {given}; {consequence}")


def check_mask(where: str, mask: Tensor, expected: tuple[int, ...]) -> None:
    """Raise unless the mask is bool and of the expected shape."""
    check_shape(where, mask, expected, "masked candidates would enter the loss")
    if mask.dtype != torch.bool:
        raise TypeError(f"{where}: expected bool, True where the candidate counts, given {mask.dtype}")


def check_finite(where: str, targets: Tensor, mask: Tensor | None = None) -> None:
    """Raise SoftLabelError when an unmasked target is NaN or infinite."""
    finite = targets.isfinite()
    if not bool((finite if mask is None else finite | ~mask).all()):
        raise SoftLabelError(
            f"{where}: NaN or infinite; the student would learn NaN. "
            "Check the teacher that made them, and mask the candidates that it can't score"
        )


def check_temperature(where: str, temperature: float) -> None:
    """Raise ValueError unless the temperature is a positive number."""
    if not 0.0 < temperature < float("inf"):
        raise ValueError(f"{where}: temperature must be positive and finite, given {temperature}")


def weighted_mean(where: str, values: Tensor, weights: Tensor | None) -> Tensor:
    """sum(weights * values) / sum(weights), or 0 (with gradient 0) where nothing has weight.

    values: (T,). weights: (T,), at least 0; None weighs all alike. What has weight 0 has no say, even if
    infinite.
    """
    if weights is None:
        return values.mean() if len(values) > 0 else values.sum()
    check_shape(f"{where}: weights", weights, tuple(values.shape), "weights would multiply other values")
    total = weights.sum()
    weighed = torch.where(weights != 0, values * weights, 0.0)
    return weighed.sum() / torch.where(total > 0, total, 1.0)


def row_weights(where: str, mask: Tensor, weights: Tensor | None) -> Tensor:
    """(B,) float: the weight of each row, 0 where it has no candidate."""
    some = mask.any(1)
    if weights is None:
        return some.float()
    check_shape(f"{where}: weights", weights, (len(mask),), "weights would multiply other rows")
    return weights * some


def check_scores(where: str, student: Tensor, name: str, targets: Tensor, mask: Tensor) -> None:
    """Raise unless scores, targets and mask speak of the same candidates (B, C), and the targets are finite."""
    check_shape(f"{where}: student_scores", student, (-1, -1), "rows must be queries, columns candidates")
    shape = tuple(student.shape)
    check_shape(f"{where}: {name}", targets, shape, "the student would learn those of other items")
    check_mask(f"{where}: mask", mask, shape)
    check_finite(f"{where}: {name}", targets, mask)


def check_reduction(where: str, reduction: str) -> None:
    """Raise ValueError unless the reduction is known."""
    if reduction not in ("mean", "sum"):
        raise ValueError(f"{where}: expected reduction 'mean' or 'sum', given {reduction!r}")


def reduced(where: str, sums: Tensor, counts: Tensor, weights: Tensor | None, reduction: str) -> Tensor:
    """Sums over each row's candidates (B,) as one number; rows without candidates don't count.

    counts: (B,), of the candidates. weights: (B,), at least 0, or None. reduction: "sum" adds all up; "mean" is the
    mean over rows of the mean over a row's candidates.
    """
    check_reduction(where, reduction)
    row_weights = (counts > 0).float()
    if weights is not None:
        check_shape(f"{where}: weights", weights, tuple(counts.shape), "weights would multiply other rows")
        row_weights = row_weights * weights
    if reduction == "sum":
        return (sums * row_weights).sum()
    return weighted_mean(where, sums / counts.clamp(min=1), row_weights)


def masked_log_softmax(logits: Tensor, mask: Tensor) -> Tensor:
    """Log probabilities (B, C) over the unmasked; all else holds finite numbers of no meaning.

    A fill of -inf would turn rows without candidates, and their gradients, into NaN.
    """
    return logits.masked_fill(~mask, torch.finfo(logits.dtype).min).log_softmax(1)


def check_distribution(where: str, probabilities: Tensor, cure: str) -> None:
    """Raise SoftLabelError unless each row (B, C) is a distribution."""
    check_finite(where, probabilities)
    off = (probabilities.sum(1) - 1.0).abs()
    if bool((probabilities < 0).any()) or bool((off > 1e-3).any()):
        raise SoftLabelError(f"{where}: rows must be distributions (at least 0, adding up to 1); {cure}")
