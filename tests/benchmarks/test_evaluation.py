"""The floor must find what the evaluation finds, else the two can't be compared."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.evaluation import K, floor, queries_of, turns
from distilrec.models import MatrixFactorization, MatrixFactorizationConfig
from distilrec.ranking import rank


def test_the_floor_finds_the_same_items() -> None:
    queries, _ = queries_of(30, 200)
    torch.manual_seed(0)
    model = MatrixFactorization(MatrixFactorizationConfig(embedding_size=8), 30, 200)
    expected = rank(model, queries, K)[0]
    for chunk in (7, 64):
        np.testing.assert_array_equal(floor(model, queries, chunk), expected)


def test_the_round_that_warms_up_is_not_counted() -> None:
    calls: list[str] = []
    seconds = turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2)
    assert calls == ["a", "b"] * 3
    assert [len(values) for values in seconds.values()] == [2, 2]
