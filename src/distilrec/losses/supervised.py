"""Losses against what users did: the true labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from distilrec.losses._common import check_shape, weighted_mean

__all__ = [
    "binary_cross_entropy",
    "bpr",
    "sampled_softmax_cross_entropy",
    "softmax_cross_entropy",
    "unlikelihood",
]

_PAIRING = "scores would be compared with those of other targets"


def softmax_cross_entropy(
    logits: Tensor,
    rows: Tensor,
    items: Tensor,
    weights: Tensor | None = None,
    *,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Mean over targets of -log softmax(logits[row])[item], the normaliser computed once per row.

    logits: (P, N), a score for each item; -inf rules an item out. rows, items: (T,) int64, the row and item
    of each target; a row may have many. weights: (T,), at least 0; the mean is the weighted one. No target:
    0.
    label_smoothing: in [0, 1); this share of each label is spread evenly over all N items, as in Szegedy et
    al. 2016, section 7. It needs finite logits.
    Raises ValueError on shapes that don't fit.

    >>> logits = torch.tensor([[0.0, 0.0], [3.0, 0.0]])
    >>> loss = softmax_cross_entropy(logits, torch.tensor([0]), torch.tensor([1]))
    >>> round(loss.item(), 4)  # log 2
    0.6931
    """
    where = "softmax_cross_entropy"
    _check_targets(where, logits, rows, items)
    if not 0.0 <= label_smoothing < 1.0:
        raise ValueError(f"{where}: label_smoothing must lie in [0, 1), given {label_smoothing}")
    normaliser = logits.logsumexp(1)[rows]  # (T,)
    loss = normaliser - logits[rows, items]
    if label_smoothing > 0.0:
        uniform = normaliser - logits.mean(1)[rows]
        loss = (1.0 - label_smoothing) * loss + label_smoothing * uniform
    return weighted_mean(where, loss, weights)


def sampled_softmax_cross_entropy(
    positive: Tensor,
    negatives: Tensor,
    weights: Tensor | None = None,
    *,
    rows: Tensor | None = None,
    log_expected_count: Tensor | None = None,
    accidental: Tensor | None = None,
) -> Tensor:
    """Mean over targets of -log of the positive's share among itself and the sampled items.

    positive: (T,) scores. negatives: (T, S) scores of the sampled items, or (P, S) shared between the targets
    of a row, with rows: (T,) int64 naming the row of each target. weights: (T,), at least 0.
    log_expected_count: (S,), or like negatives: log of how often the sampler is expected to draw that item in
    S draws, ``log(S * q)``; subtracted from the negatives (the logQ correction), so that their sum estimates
    that over all items without bias. None: no correction; frequent items are pushed down when the sampler
    favours them.
    accidental: (T, S) bool, True where the sample is the target itself; such samples are left out.
    Raises ValueError on shapes that don't fit.

    Source: Bengio and Senecal 2008. Deviation: the positive isn't corrected, since it is in the sum with
    certainty; correcting it, too, biases the estimate (Khrylchenko et al. 2025).

    >>> sampled_softmax_cross_entropy(torch.zeros(1), torch.zeros(1, 3)).exp().round().item()  # one of 4
    4.0
    """
    where = "sampled_softmax_cross_entropy"
    check_shape(f"{where}: positive", positive, (-1,), _PAIRING)
    check_shape(f"{where}: negatives", negatives, (len(positive) if rows is None else -1, -1), _PAIRING)
    if log_expected_count is not None:
        like = tuple(negatives.shape)[-log_expected_count.ndim :]
        check_shape(f"{where}: log_expected_count", log_expected_count, like, _PAIRING)
        negatives = negatives - log_expected_count
    if rows is not None:
        check_shape(f"{where}: rows", rows, tuple(positive.shape), _PAIRING)
        negatives = negatives[rows]
    if accidental is not None:
        check_shape(f"{where}: accidental", accidental, tuple(negatives.shape), _PAIRING)
        negatives = negatives.masked_fill(accidental, -torch.inf)
    scores = torch.cat([positive.unsqueeze(1), negatives], dim=1)  # (T, 1 + S)
    return weighted_mean(where, scores.logsumexp(1) - positive, weights)


def bpr(positive: Tensor, negative: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean over pairs of -log sigmoid(positive - negative).

    positive, negative: (T,) scores of a taken item and of one that wasn't, for the same query. weights: (T,),
    at least 0. Raises ValueError on shapes that don't fit.

    Source: Rendle et al. 2009, section 4.1. Deviations: a mean where theirs is a sum, and no penalty on the
    parameters, which is the optimiser's to add.

    >>> round(bpr(torch.tensor([1.0]), torch.tensor([1.0])).item(), 4)  # log 2
    0.6931
    """
    check_shape("bpr: positive", positive, (-1,), _PAIRING)
    check_shape("bpr: negative", negative, tuple(positive.shape), _PAIRING)
    return weighted_mean("bpr", F.softplus(negative - positive), weights)


def binary_cross_entropy(positive: Tensor, negative: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean over targets of the mean of -log sigmoid(positive) and its S terms -log(1 - sigmoid(negative)).

    positive: (T,) scores of taken items. negative: (T, S) scores of items that weren't. weights: (T,), at
    least 0.
    Raises ValueError on shapes that don't fit.

    Source: He et al. 2017 (NCF), equation 7. Deviation: theirs is a sum; so is SASRec's, which for S = 1 is
    twice this value per target.

    >>> round(binary_cross_entropy(torch.zeros(1), torch.zeros(1, 2)).item(), 4)  # log 2
    0.6931
    """
    check_shape("binary_cross_entropy: positive", positive, (-1,), _PAIRING)
    check_shape("binary_cross_entropy: negative", negative, (len(positive), -1), _PAIRING)
    total = F.softplus(-positive) + F.softplus(negative).sum(1)
    return weighted_mean("binary_cross_entropy", total / (1 + negative.shape[1]), weights)


def unlikelihood(logits: Tensor, rows: Tensor, items: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean over disliked items of -log(1 - softmax(logits[row])[item]).

    logits: (P, N), N at least 2. rows, items: (T,) int64, the row and item of each dislike. weights: (T,), at
    least 0. Finite, with a useful gradient, also where the softmax has put all its mass on the item.
    Raises ValueError on shapes that don't fit.

    Source: Welleck et al. 2020, equation 4, over items in the place of tokens; a mean where theirs is a sum.

    >>> round(unlikelihood(torch.zeros(1, 2), torch.tensor([0]), torch.tensor([0])).item(), 4)  # log 2
    0.6931
    """
    _check_targets("unlikelihood", logits, rows, items)
    if logits.shape[1] < 2:
        raise ValueError("unlikelihood: expected at least 2 items, given 1; the only item can't be made unlikely")
    normaliser = logits.logsumexp(1)[rows]  # (T,)
    # 1 - p of the best item loses all its digits when p is near 1, so the others of its row are summed
    # themselves.
    best = logits.argmax(1, keepdim=True)
    others_of_best = logits.scatter(1, best, -torch.inf).logsumexp(1)[rows]
    is_best = best[rows, 0] == items
    log_p = torch.where(is_best, -1.0, logits[rows, items] - normaliser)
    log_rest = torch.where(is_best, others_of_best - normaliser, torch.log1p(-log_p.exp()))
    return weighted_mean("unlikelihood", -log_rest, weights)


def _check_targets(where: str, logits: Tensor, rows: Tensor, items: Tensor) -> None:
    check_shape(f"{where}: logits", logits, (-1, -1), "each row must hold a score for each item")
    check_shape(f"{where}: rows", rows, (-1,), _PAIRING)
    check_shape(f"{where}: items", items, tuple(rows.shape), _PAIRING)
