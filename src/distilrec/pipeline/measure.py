"""One model's answers to the test queries: metrics per query, and lists."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from distilrec.data import Part, Prepared, Split, labelled_queries
from distilrec.evaluation.likes import like_metrics
from distilrec.metrics import fit_platt
from distilrec.models import Model, SequenceModel
from distilrec.ranking import Restricted, evaluate, rank, score_pairs
from distilrec.scoring import Queries, Ragged, Recommender

__all__ = ["LIST_LENGTH", "WORDS", "Test", "load_test", "save_test", "test_model"]

LIST_LENGTH = 50
FILE, WORDS = "test.safetensors", "words.safetensors"
WORDS_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class Test:
    """metrics: name -> (Q,) float64, one value per test query. lists: (Q, 50) int32, best first, -1 at the end.

    A metric whose name ends in ` from train` was measured with the training part of the histories only. Those whose
    name begins with `like_` have a value per user who liked or disliked something in the test part. Where items were
    held out, there are values for cold and for warm items, ranked among themselves and in one list; where users were,
    for each number of first items, and of models that read text for what is written on these items in their place; NaN
    for queries that these don't concern.
    """

    metrics: dict[str, NDArray[np.float64]]
    lists: NDArray[np.int32]


def test_model(
    model: Model,
    prepared: Prepared,
    metrics: tuple[str, ...],
    *,
    from_train: bool,
    words: Mapping[str, NDArray[np.float32]],
) -> Test:
    """Answer the test queries, once with all of the history and, for the headline, once without validation items.

    from_train: answer everything without validation items, as models with user vectors do. words: by modality of text,
    (Q, D) vectors of what is written on the items of each query's history.
    """
    split = prepared.split
    queries, targets = split.queries("test")
    after = queries.histories.lengths
    earlier = _from_train(queries, split)
    if from_train:
        queries = earlier
    values = evaluate(model, queries, targets, metrics)
    comes_last = split.cold_items is None and not split.after  # else training may hold what came after a target
    if model.reads_histories and not from_train and comes_last:
        values[f"{metrics[0]} from train"] = evaluate(model, earlier, targets, metrics[:1])[metrics[0]]
    lists, _ = rank(model, queries, LIST_LENGTH)
    values |= cold_item_metrics(model, split, "test", metrics[0], from_train=from_train)
    if split.after:
        values |= {after_items(metrics[0], n): np.where(after == n, values[metrics[0]], np.nan) for n in split.after}
        for name, vectors in words.items():
            values |= _after_words(model, queries, targets, metrics[0], name, vectors, split.after)
    return Test(values | _likes(model, prepared, from_train=from_train), lists)


def _from_train(queries: Queries, split: Split) -> Queries:
    """The same queries with what training holds as their histories."""
    return Queries(queries.users, split.train.histories[queries.users], queries.masked)


def after_items(metric: str, n: int) -> str:
    """What a metric is called for users of whom n items are known.

    >>> after_items("ndcg@10", 3)
    'ndcg@10 after 3 items'
    """
    return f"{metric} after {n} items"


def _after_words(
    model: Model,
    queries: Queries,
    targets: Ragged,
    metric: str,
    name: str,
    vectors: NDArray[np.float32],
    after: tuple[int, ...],
) -> dict[str, NDArray[np.float64]]:
    """A metric where each query's history is one item of which nothing is known but words; (Q,) each, as above.

    Empty for models that don't read this modality. What the query has seen is masked all the same.
    """
    if not isinstance(model, SequenceModel) or model.tower is None or name not in model.tower.config.modalities:
        return {}
    found, values = queries.histories.lengths, np.full(len(queries), np.nan)
    asked = np.flatnonzero(np.isfinite(vectors).all(1))
    for begin in range(0, len(asked), WORDS_AT_ONCE):
        some = asked[begin : begin + WORDS_AT_ONCE]
        wider, first = model.extended({name: vectors[some]}, len(some)), model.n_items
        said = Ragged.from_lengths(np.ones(len(some), np.int64), np.arange(first, first + len(some), dtype=np.int32))
        own = Restricted(wider, np.arange(model.n_items))
        told = Queries(queries.users[some], said, queries.masked[some])
        values[some] = evaluate(own, told, targets[some], [metric])[metric]
    return {f"{metric} after the {name} of {n} items": np.where(found == n, values, np.nan) for n in after if n > 0}


def cold_item_metrics(
    model: Recommender, split: Split, part: Part, metric: str, *, from_train: bool = False
) -> dict[str, NDArray[np.float64]]:
    """A metric of cold and of warm items, each among themselves and in one list; (Q,) each, NaN where none is sought.

    Empty where no items were held out. from_train: as in `test_model`.
    """
    if split.cold_items is None:
        return {}
    n_queries, found = len(split.queries(part)[0]), {}
    for name, these in (("cold", split.cold_items), ("warm", ~split.cold_items)):
        asked, queries, sought = split.queries_for(part, these)
        if from_train:
            queries = _from_train(queries, split)
        among = Restricted(model, np.flatnonzero(these))
        for place, ranked in (("", among), (" in one list", model)):
            values = np.full(n_queries, np.nan)
            values[asked] = evaluate(ranked, queries, sought, [metric])[metric]
            found[f"{metric} of {name} items{place}"] = values
    return found


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
