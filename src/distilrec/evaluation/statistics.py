"""Is one arm better than another: paired over the same queries, with intervals and p-values.

Seeds are averaged per query first, so that queries are the units that are resampled; of users who are asked more than
once `by_user` makes one unit each. Intervals and p-values therefore speak of other users from the same population, not
of other data sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = ["RESAMPLES", "TEST", "Comparison", "by_user", "compare", "holm", "interval"]

RESAMPLES = 10_000
TEST = "sign-flip permutation over users, paired, two-sided"
CELLS = 2**22  # resampled cells held at once: 32 MB
# One multinomial draw per distinct value costs as much as drawing so many single queries.
DRAW_COST = 16


@dataclass(frozen=True, slots=True)
class Comparison:
    """Arm a against arm b; everything reads as a minus b, so above 0 means that a has the higher value.

    difference: mean(a) - mean(b), with its 95 % percentile bootstrap interval.
    p_value: two-sided sign-flip permutation test of the mean difference, at least 1 / 10,001.
    p_wilcoxon: two-sided Wilcoxon signed-rank test, zeros ranked as Pratt (1959) does.
    """

    difference: float
    ci95: tuple[float, float]
    p_value: float
    p_wilcoxon: float


def by_user(values: NDArray[np.floating], users: NDArray[np.integer]) -> NDArray[np.float64]:
    """(S, U) float64 from values (S, Q) of each seed and query, and the users (Q,) who ask: one value for each of them.

    A user's queries aren't independent, so users are what is drawn anew. Their values' mean is that over queries, also
    where some ask more often; their spread is that of the ratio of two sums over users, linearised: Cochran 1977,
    section 6.4. Where all ask equally often, a user's value is the mean of the queries.

    >>> by_user(np.array([[0.0, 0.5, 1.0, 1.0]]), np.array([7, 7, 9, 9]))
    array([[0.25, 1.  ]])
    """
    _, of, counts = np.unique(users, return_inverse=True, return_counts=True)
    per_query = np.asarray(values, dtype=np.float64)
    sums = np.stack([np.bincount(of, row, len(counts)) for row in per_query])
    if (counts == counts[0]).all():
        each: NDArray[np.float64] = sums / counts[0]  # to the last bit a query's value, where users have one each
    else:
        mean = per_query.mean(axis=1, keepdims=True)
        each = mean + (sums - mean * counts) * (len(counts) / len(users))
    return each


def compare(a: NDArray[np.floating], b: NDArray[np.floating], *, rng: np.random.Generator) -> Comparison:
    """Compare two arms over the same queries.

    a: (S_a, Q) per-query values of each seed, or (Q,). b: (S_b, Q) or (Q,), the same queries in the same
    order. Both finite, Q > 0; ValueError otherwise. rng draws the resamples: same state, same result.
    Sources: percentile bootstrap, Efron and Tibshirani 1993, chapter 13; permutation test in this field,
    Smucker et al. 2007.

    >>> values = np.array([0.0, 0.5, 1.0, 0.5])
    >>> result = compare(values + 0.1, values, rng=np.random.default_rng(0))
    >>> round(result.difference, 6), [round(bound, 6) for bound in result.ci95], round(result.p_wilcoxon, 3)
    (0.1, [0.1, 0.1], 0.125)
    """
    first, second = _seed_mean(a, "a"), _seed_mean(b, "b")
    if first.shape != second.shape:
        raise ValueError(
            f"compare: the arms must answer the same queries, given {len(first)} and {len(second)} queries"
        )
    differences = first - second
    return Comparison(
        float(differences.mean()),
        interval(differences, rng),
        _sign_flip_p(differences, rng),
        _wilcoxon_p(differences),
    )


def interval(values: NDArray[np.floating], rng: np.random.Generator) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean over queries.

    values: (S, Q) per-query values of each seed, averaged per query first, or (Q,); finite, Q > 0.

    >>> interval(np.array([0.5, 0.5, 0.5]), np.random.default_rng(0))
    (0.5, 0.5)
    """
    return _ci95(_bootstrap_means(_seed_mean(values, "values"), rng))


def holm(p_values: Sequence[float]) -> NDArray[np.float64]:
    """Holm's correction for several tests: (n,) float64 adjusted p-values, in the given order.

    Source: Holm 1979. The i-th smallest of n times n - i + 1, never below the one before, at most 1.

    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    given = np.asarray(p_values, dtype=np.float64)
    if not ((given >= 0) & (given <= 1)).all():
        raise ValueError(f"holm: p-values must lie in [0, 1], given {given}")
    order = np.argsort(given)
    adjusted = np.empty_like(given)
    adjusted[order] = np.maximum.accumulate(np.minimum(1.0, given[order] * np.arange(len(given), 0, -1)))
    return adjusted


def _seed_mean(values: NDArray[np.floating], name: str) -> NDArray[np.float64]:
    """(Q,) float64: the mean over seeds."""
    table = np.atleast_2d(np.asarray(values, dtype=np.float64))
    if table.ndim != 2 or table.size == 0:
        raise ValueError(f"statistics: {name} must be (S, Q) or (Q,) and not empty, given shape {values.shape}")
    if not np.isfinite(table).all():
        raise ValueError(
            f"statistics: {name} holds {int((~np.isfinite(table)).sum())} values that are NaN or infinite; "
            "leave those queries out of both arms"
        )
    return np.asarray(table.mean(axis=0), dtype=np.float64)


def _bootstrap_means(values: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """(RESAMPLES,): the means of the values (Q,) over queries drawn with replacement.

    Queries of equal values need no telling apart. Where few values are distinct, as with one target per
    query, it is drawn how often each comes, which has the same distribution and takes a fraction of the time.
    """
    n_queries = len(values)
    distinct, counts = np.unique(values, return_counts=True)
    few = DRAW_COST * len(distinct) < n_queries
    step = max(1, CELLS // (len(distinct) if few else n_queries))
    means = np.empty(RESAMPLES)
    for start in range(0, RESAMPLES, step):
        size = min(step, RESAMPLES - start)
        if few:
            drawn = rng.multinomial(n_queries, counts / n_queries, size=size)  # (size, distinct)
            means[start : start + size] = drawn @ distinct / n_queries
        else:
            drawn = rng.integers(0, n_queries, size=(size, n_queries), dtype=np.int32)
            means[start : start + size] = values[drawn].mean(axis=1)
    return means


def _ci95(resampled: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(resampled, [0.025, 0.975])
    return float(low), float(high)


def _sign_flip_p(differences: NDArray[np.float64], rng: np.random.Generator) -> float:
    """Share of random signs under which the mean difference is at least as far from 0 as it is."""
    nonzero = differences[differences != 0]
    if len(nonzero) == 0:
        return 1.0
    total = nonzero.sum()
    threshold = abs(total) - 1e-12 * np.abs(nonzero).sum()  # rounding must not part equal sums
    n_bytes = (len(nonzero) + 7) // 8
    step = max(1, CELLS // len(nonzero))
    extreme = 0
    for start in range(0, RESAMPLES, step):
        size = min(step, RESAMPLES - start)
        bits = np.unpackbits(rng.integers(0, 256, size=(size, n_bytes), dtype=np.uint8), axis=1)
        flipped = total - 2.0 * (bits[:, : len(nonzero)] @ nonzero)
        extreme += int((np.abs(flipped) >= threshold).sum())
    return (1 + extreme) / (RESAMPLES + 1)


def _wilcoxon_p(differences: NDArray[np.float64]) -> float:
    if not differences.any():
        return 1.0
    return float(stats.wilcoxon(differences, zero_method="pratt").pvalue)
