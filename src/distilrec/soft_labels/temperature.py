"""The temperature at which a teacher's scores are logits, fitted on validation."""

from __future__ import annotations

import logging
import math

import numpy as np
import torch

from distilrec.errors import SoftLabelError
from distilrec.scoring import Queries, Ragged, Recommender
from distilrec.soft_labels._scoring import answer, blocks, mask_seen

__all__ = ["fit_temperature"]

logger = logging.getLogger(__name__)

# One number is fitted: more queries than this, or more scores, hardly move it.
_MOST_QUERIES = 4096
_MOST_SCORES = 2**28
# The search covers temperatures of 1e-4 to 1e4 times the spread of scores, and ends within a ten-thousandth.
_LOG_RANGE = math.log(1e4)
_PRECISION = 1e-4
_MOST_STEPS = 60
# Of the logits: below it the distribution is uniform or a single item, and the search went to its bounds.
_LEAST_VARIANCE = 1e-6


def fit_temperature(teacher: Recommender, queries: Queries, targets: Ragged, *, filter_seen: bool = True) -> float:
    """The T that minimises the mean of -log softmax(scores / T)[target] over the targets.

    queries, targets: of the validation part; with many, an evenly spaced part of them is taken. filter_seen:
    leave out what a query has seen, and targets that it has.
    Memory is bounded by one block of scores; the teacher scores the queries about ten times. The loss is
    convex in 1/T, so Newton steps in log T within a bracket find its minimum.
    Raises SoftLabelError when there is no target to fit on. Logs a warning when no T in the range is best:
    the scores order the targets at random or worse, or without error.

    Source: temperature scaling, Guo et al. 2017, section 4.2, with items for classes.
    """
    if len(targets) != len(queries):
        raise SoftLabelError(
            f"fit_temperature: expected targets for each of {len(queries)} queries, given {len(targets)} rows"
        )
    size = min(len(queries), _MOST_QUERIES, max(256, _MOST_SCORES // teacher.n_items))
    chosen = np.linspace(0, len(queries) - 1, size).round().astype(np.int64)
    queries, targets = queries[chosen], targets[chosen]
    start = -math.log(_spread(teacher, queries))
    low, high, guess = start - _LOG_RANGE, start + _LOG_RANGE, start  # of log 1/T
    for _ in range(_MOST_STEPS):
        slope, curvature = _derivatives(teacher, queries, targets, math.exp(guess), filter_seen)
        low, high = (low, guess) if slope > 0 else (guess, high)
        # Newton for slope = 0 in log 1/T, whose derivative is curvature / T.
        step = slope / max(curvature * math.exp(guess), 1e-300)
        following = guess - step if low < guess - step < high else (low + high) / 2
        done, guess = abs(following - guess) < _PRECISION, following
        if done:
            break
    if curvature * math.exp(2 * guess) < _LEAST_VARIANCE:
        logger.warning(
            "no temperature fits the teacher's scores: they rank the validation targets %s",
            "no better than chance" if guess < start else "without error",
        )
    return math.exp(-guess)


def _spread(teacher: Recommender, queries: Queries) -> float:
    """Mean standard deviation of the scores over items, of the first block of queries."""
    if len(queries) == 0:
        raise SoftLabelError("fit_temperature: no validation queries; add some, or leave the validation out")
    scores = answer(teacher, queries[next(blocks(0, len(queries), teacher.n_items))])
    return max(float(scores.std(dim=1, correction=0).mean()), 1e-12)


def _derivatives(
    teacher: Recommender, queries: Queries, targets: Ragged, beta: float, filter_seen: bool
) -> tuple[float, float]:
    """First and second derivative in beta = 1/T of the mean loss: E_p[s] - s_target, and Var_p[s]."""
    slope = curvature = 0.0
    n_targets = 0
    for part in blocks(0, len(queries), teacher.n_items):
        asked = queries[part]
        scores = answer(teacher, asked)
        if filter_seen:
            scores = mask_seen(scores, asked)
        scores = scores - scores.amax(1, keepdim=True)  # so that the moments keep their digits
        p = (beta * scores).softmax(1)
        finite = scores.isfinite()
        values = scores.masked_fill(~finite, 0.0)
        mean = (p * values).sum(1)
        variance = (p * (values - mean.unsqueeze(1)).square()).sum(1)
        rows, items = (torch.from_numpy(x).long().to(scores.device) for x in targets[part].flat())
        valid = finite[rows, items]
        rows, items = rows[valid], items[valid]
        slope += float((mean[rows] - values[rows, items]).double().sum())
        curvature += float(variance[rows].double().sum())
        n_targets += len(rows)
    if n_targets == 0:
        raise SoftLabelError("fit_temperature: no validation target that its query hasn't seen; check the split")
    return slope / n_targets, curvature / n_targets
