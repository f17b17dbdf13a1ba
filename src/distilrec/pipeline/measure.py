"""One model's answers to the test queries: metrics per query, and lists."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from distilrec.data import Prepared, labelled_queries
from distilrec.evaluation.likes import like_metrics
from distilrec.metrics import fit_platt
from distilrec.models import Model
from distilrec.ranking import evaluate, rank, score_pairs
from distilrec.scoring import Queries

__all__ = ["LIST_LENGTH", "Test", "load_test", "save_test", "test_model"]

LIST_LENGTH = 50
FILE = "test.safetensors"


@dataclass(frozen=True, eq=False)
class Test:
    """metrics: name -> (Q,) float64, one value per test query. lists: (Q, 50) int32, best first, -1 at the end.

    A metric whose name ends in ` from train` was measured with the training part of the histories only. Those whose
    name begins with `like_` have a value per user who liked or disliked something in the test part.
    """

    metrics: dict[str, NDArray[np.float64]]
    lists: NDArray[np.int32]


def test_model(model: Model, prepared: Prepared, metrics: tuple[str, ...], *, from_train: bool) -> Test:
    """Answer the test queries, once with all of the history and, for the headline, once without validation items.

    from_train: answer everything without validation items, as models with user vectors do.
    """
    split = prepared.split
    queries, targets = split.queries("test")
    earlier = Queries(queries.users, split.train.histories[queries.users], queries.histories)
    if from_train:
        queries = earlier
    values = evaluate(model, queries, targets, metrics)
    if model.reads_histories and not from_train:
        values[f"{metrics[0]} from train"] = evaluate(model, earlier, targets, metrics[:1])[metrics[0]]
    lists, _ = rank(model, queries, LIST_LENGTH)
    return Test(values | _likes(model, prepared, from_train=from_train), lists)


def _likes(model: Model, prepared: Prepared, *, from_train: bool) -> dict[str, NDArray[np.float64]]:
    """How well scores tell held-out likes from dislikes, calibrated on validation; empty where there are no both."""
    if prepared.negatives_split is None:
        return {}
    validation, test = (
        labelled_queries(prepared.split, prepared.negatives_split, part) for part in ("validation", "test")
    )
    if any(labels.all() or not labels.any() for _, _, labels in (validation, test)):
        return {}
    queries, items, labels = validation
    calibrate = fit_platt(score_pairs(model, queries, items), labels)
    queries, items, labels = test
    if from_train:
        queries = Queries(queries.users, prepared.split.train.histories[queries.users])
    scores = score_pairs(model, queries, items)
    return like_metrics(items.flat()[0], labels, scores, calibrate(scores), len(queries))


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
