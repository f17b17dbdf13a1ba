"""Telling likes from dislikes: metrics over all pairs of a query and an item, broken up by query.

Queries differ in how many pairs they have, and the pairs of one query aren't independent. So each metric is given as
one value per query: their mean is the metric over all pairs, and their spread is that of the metric when whole
queries are drawn anew. Intervals and paired tests treat them like any other per-query values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilrec.metrics.checks import check_pairs
from distilrec.metrics.ranks import midranks

__all__ = ["like_metrics"]

Values = NDArray[np.float64]


def like_metrics(
    rows: NDArray[np.integer[Any]],
    labels: NDArray[np.bool_],
    scores: NDArray[np.floating[Any]],
    probabilities: NDArray[np.floating[Any]],
    n_queries: int,
) -> dict[str, Values]:
    """One value per query, (Q,) float64, of each metric in `CLICK_METRICS`, its name after `like_`.

    rows: (n,) in [0, Q), the query of each pair. labels: (n,) bool, of both classes. scores: (n,), for the AUC.
    probabilities: (n,) in [0, 1], calibrated, for all others. Raises ValueError on other inputs.
    Sources: ratios by linearisation, Cochran 1977, section 6.4; AUC by the components of DeLong et al. 1988, summed
    per query as in Obuchowski 1997. They are exact in the mean; in the spread, to first order.

    >>> rows, labels = np.array([0, 0, 1]), np.array([True, False, True])
    >>> values = like_metrics(rows, labels, np.array([2.0, 1.0, 0.5]), np.array([0.9, 0.2, 0.4]), n_queries=2)
    >>> {name: round(float(value.mean()), 3) for name, value in values.items() if name != "like_log_loss"}
    {'like_auc': 0.5, 'like_accuracy': 0.667, 'like_precision': 1.0, 'like_recall': 0.5, 'like_f1': 0.667}
    """
    check_pairs(labels, scores)
    check_pairs(labels, probabilities)
    liked, predicted = labels.astype(np.float64), (probabilities >= 0.5).astype(np.float64)
    epsilon = np.finfo(np.float64).eps
    p = np.clip(probabilities.astype(np.float64), epsilon, 1 - epsilon)
    ratios = {
        "like_accuracy": ((liked == predicted).astype(np.float64), np.ones_like(liked)),
        "like_precision": (liked * predicted, predicted),
        "like_recall": (liked * predicted, liked),
        "like_f1": (2 * liked * predicted, liked + predicted),
        "like_log_loss": (-np.where(labels, np.log(p), np.log1p(-p)), np.ones_like(liked)),
    }
    return {"like_auc": _auc(rows, labels, scores, n_queries)} | {
        name: _ratio(_sums(rows, above, n_queries), _sums(rows, below, n_queries))
        for name, (above, below) in ratios.items()
    }


def _sums(rows: NDArray[np.integer[Any]], values: Values, n_queries: int) -> Values:
    """(Q,): the sum of each query's values (n,)."""
    return np.bincount(rows, values, n_queries).astype(np.float64)


def _ratio(above: Values, below: Values) -> Values:
    """(Q,): values of mean sum(above) / sum(below), 0 where nothing is below."""
    total = below.sum()
    if total == 0:
        return np.zeros_like(above)
    mean = above.sum() / total
    values: Values = mean + len(above) * (above - mean * below) / total
    return values


def _auc(
    rows: NDArray[np.integer[Any]], labels: NDArray[np.bool_], scores: NDArray[np.floating[Any]], n_queries: int
) -> Values:
    n_liked = int(labels.sum())
    n_disliked = len(labels) - n_liked
    if min(n_liked, n_disliked) == 0:
        raise ValueError(f"like_metrics: needs likes and dislikes, given {n_liked} and {n_disliked}")
    ranks, share = midranks(scores), np.empty(len(labels))
    # Of each like the share of dislikes below it; of each dislike the share of likes above it.
    share[labels] = (ranks[labels] - midranks(scores[labels])) / n_disliked
    share[~labels] = 1 - (ranks[~labels] - midranks(scores[~labels])) / n_liked
    mean = share[labels].mean()
    weights = np.where(labels, 1 / n_liked, 1 / n_disliked)
    values: Values = mean + n_queries * _sums(rows, (share - mean) * weights, n_queries)
    return values
