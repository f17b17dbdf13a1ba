from types import SimpleNamespace

import numpy as np
import pytest
import torch

from distilrec.evaluation.cost import flops_per_query, latency, parameters
from distilrec.scoring import Queries, Ragged


class Linear:
    """Scores by one product of (B, 8) with (8, 30), and notes threads and batch sizes."""

    n_items = 30
    scores_are_logits = True

    def __init__(self):
        self.weights = torch.randn(8, 30, generator=torch.Generator().manual_seed(0))
        self.threads, self.asked = set(), []

    def score(self, queries):
        self.threads.add(torch.get_num_threads())
        self.asked.append(len(queries))
        return torch.ones(len(queries), 8) @ self.weights


def some_queries(n):
    return Queries(np.arange(n, dtype=np.int32), Ragged.from_rows([[1]] * n))


def test_everything_that_is_saved_counts():
    """Prevents a matrix-factorisation student from hiding its user vectors."""
    state = {"users": torch.zeros(100, 4), "items": torch.zeros(30, 4), "bias": torch.zeros(30)}
    assert parameters(SimpleNamespace(serving_state=lambda: state)) == 550


def test_flops_of_a_product():
    assert flops_per_query(Linear(), some_queries(1)) == 2 * 8 * 30


def test_flops_that_pytorch_does_not_see_are_none():
    """Prevents a model outside PyTorch from looking free."""
    model = SimpleNamespace(n_items=3, score=lambda queries: torch.from_numpy(np.ones((1, 3), np.float32)))
    assert flops_per_query(model, some_queries(1)) is None


def test_flops_are_of_one_query():
    with pytest.raises(ValueError, match="expected one query, given 2"):
        flops_per_query(Linear(), some_queries(2))


def test_latency_asks_one_query_at_a_time_on_one_thread():
    """Prevents the throughput of a batch from being sold as latency."""
    model, before = Linear(), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        result = latency(model, some_queries(3), repetitions=10, warm_up=2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert model.threads == {1}
    assert model.asked == [1] * 12
    assert 0 < result.p50 <= result.p95 <= result.p99


def test_latency_needs_a_query():
    with pytest.raises(ValueError, match="at least one query"):
        latency(Linear(), some_queries(0))
