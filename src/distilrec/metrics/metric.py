"""A top-K metric with its cut-off, and the names under which they are known."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from distilrec.errors import RecipeError
from distilrec.metrics.average_precision import average_precision
from distilrec.metrics.f1 import f1
from distilrec.metrics.hit_rate import hit_rate
from distilrec.metrics.mrr import mrr
from distilrec.metrics.ndcg import ndcg
from distilrec.metrics.precision import precision
from distilrec.metrics.recall import recall

__all__ = ["TOP_K_METRICS", "Metric", "TopKMetric"]

TopKMetric: TypeAlias = Callable[[NDArray[np.bool_], NDArray[np.integer[Any]], int], NDArray[np.float64]]

TOP_K_METRICS: Mapping[str, TopKMetric] = MappingProxyType(
    {
        "recall": recall,
        "ndcg": ndcg,
        "mrr": mrr,
        "map": average_precision,
        "hit_rate": hit_rate,
        "precision": precision,
        "f1": f1,
    }
)


@dataclass(frozen=True, slots=True)
class Metric:
    """A top-K metric at a cut-off. Your own needs no registration: ``Metric("mine", 10, my_function)``.

    name: what stands before the @. k: cut-off, at least 1.
    function: (hits (B, K) bool, n_relevant (B,) int, k) -> (B,) float64.

    >>> str(Metric.parse("ndcg@10"))
    'ndcg@10'
    >>> Metric.parse("ndgc@10")
    Traceback (most recent call last):
    distilrec.errors.RecipeError: metric 'ndgc@10' is unknown; write NAME@K with K >= 1 and one of the names \
recall, ndcg, mrr, map, hit_rate, precision, f1
    """

    name: str
    k: int
    function: TopKMetric

    def __post_init__(self) -> None:
        if self.k < 1:
            raise RecipeError(f"metric {self.name!r}: the cut-off must be at least 1, given {self.k}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``name@k``; RecipeError where the name is unknown or the cut-off isn't a positive integer."""
        match = re.fullmatch(r"([a-z0-9_]+)@([1-9][0-9]*)", text)
        if match is None or match[1] not in TOP_K_METRICS:
            raise RecipeError(
                f"metric {text!r} is unknown; write NAME@K with K >= 1 and one of the names {', '.join(TOP_K_METRICS)}"
            )
        return cls(match[1], int(match[2]), TOP_K_METRICS[match[1]])

    def __str__(self) -> str:
        return f"{self.name}@{self.k}"

    def __call__(self, hits: NDArray[np.bool_], n_relevant: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """(B,) float64: the value for each query; hits (B, K) with K >= k, n_relevant (B,)."""
        return self.function(hits, n_relevant, self.k)
