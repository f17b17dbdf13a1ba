"""The floor must find what the evaluation finds, else the two can't be compared."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from benchmarks import evaluation
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


def test_a_turn_begins_with_a_run_that_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "TURN", 0.0)
    calls: list[str] = []

    def slow_at_first() -> None:
        calls.append("a")
        time.sleep(0.2 if calls.count("a") % 2 == 1 else 0.0)

    seconds = turns({"a": slow_at_first, "b": lambda: calls.append("b")}, rounds=2)
    assert calls == ["a", "a", "b", "b"] * 2
    assert [len(values) for values in seconds.values()] == [2, 2]
    assert max(seconds["a"]) < 0.2


def test_a_turn_of_a_quick_side_holds_many_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a figure that is the noise of one run of some milliseconds."""
    monkeypatch.setattr(evaluation, "TURN", 0.05)
    calls: list[int] = []
    assert turns({"quick": lambda: calls.append(1)}, rounds=1)["quick"][0] < 0.05
    assert len(calls) > 2
