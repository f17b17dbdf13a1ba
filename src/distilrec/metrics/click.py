"""Click and like prediction: metrics on labelled pairs of a query and an item.

All take labels (n,) of 0 and 1 or bool, and probabilities (n,) in [0, 1], n > 0; scores that aren't
probabilities are calibrated first (`fit_platt`). All return a float and raise ValueError on other inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from distilrec.metrics.checks import check_pairs
from distilrec.metrics.ranks import midranks

__all__ = ["CLICK_METRICS", "ClickMetric", "accuracy", "auc", "f1", "log_loss", "precision", "recall"]

ClickMetric: TypeAlias = Callable[[NDArray[Any], NDArray[np.floating[Any]]], float]


def accuracy(labels: NDArray[Any], probabilities: NDArray[np.floating[Any]]) -> float:
    """Share of pairs on the right side of 0.5; a probability of exactly 0.5 predicts 1.

    >>> accuracy(np.array([1, 0, 1]), np.array([0.9, 0.2, 0.4]))
    0.6666666666666667
    """
    hits, predicted, positive = _counts(labels, probabilities)
    return 1.0 - (predicted + positive - 2 * hits) / len(labels)


def precision(labels: NDArray[Any], probabilities: NDArray[np.floating[Any]]) -> float:
    """Share of true ones among the pairs predicted as 1 (0.5 and above); 0 where none is.

    >>> precision(np.array([1, 0, 1]), np.array([0.9, 0.7, 0.4]))
    0.5
    """
    hits, predicted, _ = _counts(labels, probabilities)
    return hits / max(predicted, 1)


def recall(labels: NDArray[Any], probabilities: NDArray[np.floating[Any]]) -> float:
    """Share of the true ones that are predicted as 1 (0.5 and above); 0 where there is none.

    >>> recall(np.array([1, 0, 1]), np.array([0.9, 0.7, 0.4]))
    0.5
    """
    hits, _, positive = _counts(labels, probabilities)
    return hits / max(positive, 1)


def f1(labels: NDArray[Any], probabilities: NDArray[np.floating[Any]]) -> float:
    """Harmonic mean of precision and recall; 0 where both are 0.

    >>> f1(np.array([1, 0, 1]), np.array([0.9, 0.7, 0.4]))
    0.5
    """
    hits, predicted, positive = _counts(labels, probabilities)
    return 2 * hits / max(predicted + positive, 1)


def auc(labels: NDArray[Any], scores: NDArray[np.floating[Any]]) -> float:
    """Area under the ROC curve: chance that a true one scores above a false one, ties as half.

    scores: (n,), any finite numbers. Raises ValueError where all labels are the same.
    Source: the Mann-Whitney statistic, from mid-ranks (Hanley and McNeil 1982).

    >>> auc(np.array([1, 0, 1]), np.array([0.9, 0.5, 0.5]))
    0.75
    """
    check_pairs(labels, scores)
    positive = labels.astype(bool)
    n_positive = int(positive.sum())
    n_negative = len(labels) - n_positive
    if min(n_positive, n_negative) == 0:
        raise ValueError(
            f"auc: needs labels of both classes, given {n_positive} ones and {n_negative} zeros; "
            "add what the users didn't like"
        )
    above = midranks(scores)[positive].sum() - n_positive * (n_positive + 1) / 2
    return float(above / (n_positive * n_negative))


def log_loss(labels: NDArray[Any], probabilities: NDArray[np.floating[Any]]) -> float:
    """Mean of -log(probability of the true label), in nats; lower is better.

    Probabilities are kept away from 0 and 1 by the machine epsilon of float64, as scikit-learn does.

    >>> round(log_loss(np.array([1, 0]), np.array([0.8, 0.2])), 4)
    0.2231
    """
    _check_probabilities(labels, probabilities)
    epsilon = np.finfo(np.float64).eps
    p = np.clip(probabilities.astype(np.float64), epsilon, 1 - epsilon)
    return float(-np.where(labels.astype(bool), np.log(p), np.log1p(-p)).mean())


CLICK_METRICS: Mapping[str, ClickMetric] = MappingProxyType(
    {
        "accuracy": accuracy,
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "auc": auc,
        "log_loss": log_loss,
    }
)


def _check_probabilities(labels: NDArray[Any], probabilities: NDArray[np.floating[Any]]) -> None:
    check_pairs(labels, probabilities)
    if probabilities.min() < 0 or probabilities.max() > 1:
        raise ValueError(
            f"metric: probabilities must lie in [0, 1], given {probabilities.min():g}.."
            f"{probabilities.max():g}; calibrate scores with fit_platt first"
        )


def _counts(labels: NDArray[Any], probabilities: NDArray[np.floating[Any]]) -> tuple[int, int, int]:
    """Pairs that are 1 and predicted as 1; predicted as 1; and that are 1."""
    _check_probabilities(labels, probabilities)
    positive, predicted = labels.astype(bool), probabilities >= 0.5
    return int((positive & predicted).sum()), int(predicted.sum()), int(positive.sum())
