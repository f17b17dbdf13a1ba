from types import SimpleNamespace

import numpy as np
import pytest
import torch

from distilrec.evaluation.cost import flops_per_query, latency, parameters
from distilrec.models import (
    EASEConfig,
    Ensemble,
    HistoryEncoderConfig,
    IALSConfig,
    ItemKNNConfig,
    LightGCNConfig,
    MatrixFactorizationConfig,
    Outgrown,
    PopularityConfig,
    SASRecConfig,
    build,
)
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


N, D = 40, 8

FLOPS = {
    "popularity": (PopularityConfig(), 0),
    "matrix factorisation": (MatrixFactorizationConfig(embedding_size=D), 2 * D * N),
    "LightGCN, served": (LightGCNConfig(embedding_size=D), 2 * D * N),
    "EASE, a row for each item": (EASEConfig(), 5 * 2 * N),
    "item-kNN, seven neighbours of each item": (ItemKNNConfig(neighbours=7), 5 * 2 * 7),
    "history encoder: keys, poolings, merge, scores": (
        HistoryEncoderConfig(embedding_size=D, heads=2, history_length=10),
        2 * 5 * D * 2 + 2 * (2 * 5 * 5 * D) + 2 * 5 * (2 * D) * D + 2 * D * N,
    ),
    "SASRec: Q K V, Q K' and A V, merge, feed-forward, scores": (
        SASRecConfig(embedding_size=D, layers=1, heads=2, feed_forward=2, history_length=10),
        2 * 5 * D * 3 * D + 2 * (2 * 5 * 5 * D) + 2 * 5 * D * D + 2 * (2 * 5 * D * 2 * D) + 2 * D * N,
    ),
    "SASRec that reads three items": (
        SASRecConfig(embedding_size=D, layers=1, heads=2, feed_forward=2, history_length=3),
        2 * 3 * D * 3 * D + 2 * (2 * 3 * 3 * D) + 2 * 3 * D * D + 2 * (2 * 3 * D * 2 * D) + 2 * D * N,
    ),
    "iALS, a system of 5 items: X X', Cholesky, X' a, basis, scores": (
        IALSConfig(embedding_size=D),
        2 * 5 * 5 * D + (5**3 // 3 + 2 * 5**2) + 2 * D * 5 + 2 * D * D + 2 * D * N,
    ),
    "iALS, a system of width 2: X' X, X' y, Cholesky, basis, scores": (
        IALSConfig(embedding_size=2),
        2 * 5 * 2 * 2 + 2 * 5 * 2 + (2**3 // 3 + 2 * 2**2) + 2 * 2 * 2 + 2 * 2 * N,
    ),
}


def query(*histories):
    return Queries(np.zeros(len(histories), np.int32), Ragged.from_rows(list(histories)))


@pytest.mark.parametrize(("config", "expected"), FLOPS.values(), ids=FLOPS.keys())
def test_flops_by_hand(config, expected):
    """Prevents a model outside of PyTorch from looking free, and what is made once from being laid to one query."""
    model = build(config, 3, N, seed=0).eval()
    assert [model.flops(query([1, 2, 3, 4, 5])) for _ in range(2)] == [expected, expected]


def test_items_taken_twice_are_read_once_by_closed_forms():
    assert build(EASEConfig(), 3, N, seed=0).flops(query([1, 2, 1])) == 2 * 2 * N
    assert build(ItemKNNConfig(neighbours=7), 3, N, seed=0).flops(query([1, 2, 1])) == 2 * 2 * 7


def test_flops_of_an_ensemble_are_those_of_all_that_it_asks():
    """Prevents a member that computes outside of PyTorch from being left out of the sum."""
    configs = EASEConfig(), MatrixFactorizationConfig(embedding_size=D), IALSConfig()
    ensemble = Ensemble([build(config, 3, N, seed=0).eval() for config in configs])
    ensemble.weights.copy_(torch.tensor([0.3, 0.7, 0.0]))
    assert ensemble.flops(query([1, 2])) == (2 * 2 * N + 2 * N) + (2 * D * N + 2 * N)


def test_flops_of_an_earlier_model_are_of_what_it_knows():
    model = Outgrown(build(EASEConfig(), 2, N, seed=0), 3, N + 2)
    assert model.flops(query([1, N, 2, N + 1])) == 2 * 2 * N


def test_flops_are_those_at_the_median_history():
    """Prevents a number that hangs on who comes first in the log."""
    model = build(EASEConfig(), 3, N, seed=0)
    lengths = [9, 1, 2, 30, 4]
    assert flops_per_query(model, query(*(list(range(length)) for length in lengths))) == 4 * 2 * N
    assert flops_per_query(model, query([1, 2, 3], [1])) == 2 * N
    with pytest.raises(ValueError, match="at least one query"):
        flops_per_query(model, query())


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
