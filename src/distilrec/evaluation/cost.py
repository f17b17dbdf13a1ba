"""What a model costs to keep and to ask: parameters, floating-point operations, latency."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from distilrec.ranking import rank
from distilrec.scoring import Queries, Recommender

__all__ = ["Counting", "Latency", "Storable", "flops_per_query", "latency", "parameters"]

K = 10


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from a query to its top ten, at percentiles."""

    p50: float
    p95: float
    p99: float


class Storable(Protocol):
    """A model that can name what it keeps."""

    def serving_state(self) -> Mapping[str, Tensor]:
        """The tensors that are needed to score."""
        ...


def parameters(model: Storable) -> int:
    """Numbers that the model must keep to answer: everything that is saved, user vectors counted.

    Closed-form models hold what they learned in buffers (EASE: N x N numbers), so these count, and what
    serves training only doesn't. The bytes are the size of the file that saving writes.

    >>> from types import SimpleNamespace
    >>> state = {"users": torch.zeros(5, 2), "items": torch.zeros(3, 2)}
    >>> parameters(SimpleNamespace(serving_state=lambda: state))
    16
    """
    return sum(tensor.numel() for tensor in model.serving_state().values())


class Counting(Protocol):
    """A model that can say what a query costs."""

    def flops(self, query: Queries) -> int:
        """Floating-point operations of scoring one query."""
        ...


def flops_per_query(model: Counting, queries: Queries) -> int:
    """Floating-point operations of scoring one query: that with a history of median length.

    queries: at least one. Of an even number the shorter of the two in the middle counts, of equal lengths the first; so
    it is the same query for all models. `Model.flops` says what is counted.
    """
    if len(queries) == 0:
        raise ValueError("flops_per_query: needs at least one query")
    median = np.argsort(queries.histories.lengths, kind="stable")[(len(queries) - 1) // 2]
    return model.flops(queries[median : median + 1])


def latency(model: Recommender, queries: Queries, *, repetitions: int = 200, warm_up: int = 20) -> Latency:
    """Time single queries on one thread: score, mask, top ten.

    queries: real ones, taken in turn, at least one. repetitions: timed queries, of which p99 needs some
    hundred. warm_up: untimed queries before them.
    PyTorch is held to one thread meanwhile; NumPy's own threads are not: start the process with
    OMP_NUM_THREADS=1 for a model that computes there.
    """
    if len(queries) == 0 or repetitions < 1:
        raise ValueError("latency: needs at least one query and one repetition")
    times = np.empty(repetitions)
    with _one_thread():
        for turn in range(-warm_up, repetitions):
            place = turn % len(queries)
            query = queries[place : place + 1]
            start = time.perf_counter()
            rank(model, query, K)
            if turn >= 0:
                times[turn] = time.perf_counter() - start
    p50, p95, p99 = (1e3 * np.percentile(times, [50, 95, 99])).tolist()
    return Latency(p50, p95, p99)


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
