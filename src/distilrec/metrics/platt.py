"""Platt calibration: scores become probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilrec.metrics.checks import check_pairs

__all__ = ["Platt", "fit_platt"]

MOST_STEPS = 100


@dataclass(frozen=True, slots=True)
class Platt:
    """p = 1 / (1 + exp(-(slope * score + intercept))).

    >>> Platt(slope=2.0, intercept=0.0)(np.array([0.0]))
    array([0.5])
    """

    slope: float
    intercept: float

    def __call__(self, scores: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """The probability of label 1 for each score, same shape, float64."""
        return _sigmoid(self.slope * scores.astype(np.float64) + self.intercept)


def fit_platt(scores: NDArray[np.floating[Any]], labels: NDArray[Any]) -> Platt:
    """Fit slope and intercept by maximum likelihood; use validation data, never those that are reported.

    scores: (n,) finite. labels: (n,) of 0 and 1 or bool. Raises ValueError on other inputs.
    As in Platt's paper the targets are (n1 + 1) / (n1 + 2) and 1 / (n0 + 2) instead of 1 and 0, which keeps
    the slope finite where the classes don't overlap. Constant scores give slope 0.
    Source: Platt 1999, solved by the damped Newton method of Lin, Lin and Weng 2007. Deviation: scores are
    standardised meanwhile, so that their unit doesn't matter.

    >>> platt = fit_platt(np.array([-3.0, 1.0, -1.0, 3.0]), np.array([0, 0, 1, 1]))
    >>> platt.slope > 0, abs(platt.intercept) < 1e-9
    (True, True)
    """
    check_pairs(labels, scores)
    positive = labels.astype(bool)
    n_positive = int(positive.sum())
    targets = np.where(positive, (n_positive + 1) / (n_positive + 2), 1 / (len(labels) - n_positive + 2))
    x = scores.astype(np.float64)
    centre, spread = x.mean(), x.std()
    if spread <= 1e-12 * max(1.0, abs(centre)):
        mean = targets.mean()
        return Platt(0.0, float(np.log(mean / (1 - mean))))
    slope, intercept = _newton((x - centre) / spread, targets)
    return Platt(float(slope / spread), float(intercept - slope * centre / spread))


def _newton(x: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2,) float64: the slope and intercept of least loss; x, targets: (n,)."""
    features = np.stack([x, np.ones_like(x)], axis=1)  # (n, 2)
    weights = np.array([0.0, np.log(targets.mean() / (1 - targets.mean()))])
    loss = _loss(features @ weights, targets)
    for _ in range(MOST_STEPS):
        p = _sigmoid(features @ weights)
        gradient = features.T @ (p - targets) / len(x)
        if np.abs(gradient).max() < 1e-12:
            break
        hessian = (features * (p * (1 - p))[:, None]).T @ features / len(x) + 1e-12 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while size > 1e-10:
            candidate = weights - size * step
            candidate_loss = _loss(features @ candidate, targets)
            if candidate_loss <= loss - 1e-4 * size * (gradient @ step):
                break
            size /= 2
        else:  # no step lowers the loss any further: this is the minimum to machine precision
            break
        weights, loss = candidate, candidate_loss
    return weights


def _loss(logits: NDArray[np.float64], targets: NDArray[np.float64]) -> float:
    return float((np.logaddexp(0.0, logits) - targets * logits).mean())


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.exp(-np.logaddexp(0.0, -logits)), dtype=np.float64)
