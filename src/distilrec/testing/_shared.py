"""What contracts share: small data, scores and hit rates."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distilrec.data import (
    Dataset,
    LeaveLastOut,
    Split,
    split,
)
from distilrec.models import (
    Model,
    Popularity,
    PopularityConfig,
)
from distilrec.ranking import evaluate
from distilrec.scoring import Queries, Ragged

__all__ = [
    "close",
    "global_generators",
    "hit_rate",
    "leave_last_out",
    "popularity_hit_rate",
    "scores_of",
    "some_queries",
]


def global_generators() -> tuple[Any, ...]:
    return random.getstate(), repr(np.random.get_state(legacy=False)), torch.get_rng_state().tolist()  # noqa: NPY002


def close(given: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-4)


def leave_last_out(data: Dataset) -> Split:
    return split(data.interactions, LeaveLastOut())


def some_queries(data: Split) -> Queries:
    """Five known users with their histories, and strangers with a long, a short and no history."""
    known, _ = data.queries("test")
    rows = [known.histories[n : n + 1].flat()[1].tolist() for n in range(5)] + [
        [9, 4, 6, 1, 0, 2, 8],
        [3],
        [],
    ]
    return Queries(np.array([0, 1, 2, 3, 4, -1, -1, -1], np.int32), Ragged.from_rows(rows))


def scores_of(model: Model, queries: Queries) -> Tensor:
    with torch.no_grad():
        return model.score(queries)


def hit_rate(model: Model, data: Split, k: int) -> float:
    return float(evaluate(model, *data.queries("test"), [f"hit_rate@{k}"])[f"hit_rate@{k}"].mean())


def popularity_hit_rate(data: Split, k: int) -> float:
    model = Popularity(PopularityConfig(), data.train.n_users, data.train.n_items)
    model.fit(data.train)
    return hit_rate(model, data, k)
