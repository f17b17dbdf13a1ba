"""The floor must find what the evaluation finds, else the two can't be compared."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.evaluation import TURN, K, floor, queries_of, turns
from distilrec.models import MatrixFactorization, MatrixFactorizationConfig
from distilrec.ranking import rank


def test_the_floor_finds_the_same_items() -> None:
    queries, _ = queries_of(30, 200)
    torch.manual_seed(0)
    model = MatrixFactorization(MatrixFactorizationConfig(embedding_size=8), 30, 200)
    expected = rank(model, queries, K)[0]
    for chunk in (7, 64):
        np.testing.assert_array_equal(floor(model, queries, chunk), expected)


def test_sides_take_turns_and_the_run_that_warms_up_is_not_counted() -> None:
    calls: list[str] = []

    def side(name: str, seconds: list[float]) -> float:
        calls.append(name)
        return seconds.pop(0)

    slow, quick = [9.0, TURN, 9.0, 2 * TURN], [9.0, TURN / 2, TURN / 2] * 2
    seconds = turns({"slow": lambda: side("slow", slow), "quick": lambda: side("quick", quick)}, rounds=2)
    assert seconds == {"slow": [TURN, 2 * TURN], "quick": [TURN / 2, TURN / 2]}
    assert calls == ["slow", "slow", "quick", "quick", "quick"] * 2
