"""One model's answers to the test queries: metrics per query, and lists."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from distilrec.data import Prepared
from distilrec.models import Model
from distilrec.ranking import evaluate, rank
from distilrec.scoring import Queries

__all__ = ["LIST_LENGTH", "Test", "load_test", "save_test", "test_model"]

LIST_LENGTH = 50
FILE = "test.safetensors"


@dataclass(frozen=True, eq=False)
class Test:
    """metrics: name -> (Q,) float64, one value per test query. lists: (Q, 50) int32, best first, -1 at the end.

    A metric whose name ends in ` from train` was measured with the training part of the histories only.
    """

    metrics: dict[str, NDArray[np.float64]]
    lists: NDArray[np.int32]


def test_model(model: Model, prepared: Prepared, metrics: tuple[str, ...]) -> Test:
    """Answer the test queries, once with all of the history and, for the headline, once without validation items."""
    split = prepared.split
    queries, targets = split.queries("test")
    values = evaluate(model, queries, targets, metrics)
    if model.reads_histories:
        earlier = Queries(queries.users, split.train.histories[queries.users], queries.histories)
        values[f"{metrics[0]} from train"] = evaluate(model, earlier, targets, metrics[:1])[metrics[0]]
    lists, _ = rank(model, queries, min(LIST_LENGTH, model.n_items))
    return Test(values, lists)


def save_test(test: Test, folder: Path) -> None:
    """Write a test, atomically."""
    partial = folder / f"{FILE}.partial"
    save_file({"lists": test.lists, **{f"metric/{name}": v for name, v in test.metrics.items()}}, partial)
    os.replace(partial, folder / FILE)


def load_test(folder: Path) -> Test:
    """Read what `save_test` wrote."""
    arrays = load_file(folder / FILE)
    lists = arrays.pop("lists")
    return Test({name.removeprefix("metric/"): values for name, values in arrays.items()}, lists)
