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
from torch.utils.flop_counter import FlopCounterMode

from distilrec.ranking import rank
from distilrec.scoring import Queries, Recommender

__all__ = ["Latency", "Storable", "flops_per_query", "latency", "parameters"]

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


def flops_per_query(model: Recommender, query: Queries) -> int | None:
    """Floating-point operations of scoring one query, a multiplication and an addition counting as two.

    query: exactly one. Counts the matrix products, convolutions and attention that PyTorch runs, which is
    nearly all of a neural model; sums, norms and look-ups aren't counted. None where nothing was counted: the
    model computes outside PyTorch, or only looks up.
    """
    if len(query) != 1:
        raise ValueError(f"flops_per_query: expected one query, given {len(query)}")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.score(query)
    return counter.get_total_flops() or None


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
