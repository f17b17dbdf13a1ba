"""Approximate search beside exact search, by the size of the catalogue: `python -m benchmarks.large_catalogue`.

Synthetic logs in which users take items of a few topics, both with a popularity of about 1 / rank; a matrix
factorisation of width 64 is trained on each, so that vectors and biases are those that training leaves. Its bundle
answers single queries, once scoring all items and once as the server does with many: by cells, whose number was chosen
on 200 other queries. One thread. Recall is the share of exact search's ten best items. Needs faiss-cpu. A size whose
result lies under results/large_catalogue/ isn't measured again; bundles are kept in ~/.cache/distilrec-large.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import RESULTS, write_result
from distilrec.data import Interactions
from distilrec.data.split_kinds import LeaveLastOut
from distilrec.data.splits import split
from distilrec.export import BundleIds, write_bundle
from distilrec.models import MatrixFactorization, MatrixFactorizationConfig, Supervision, build, fit
from distilrec.runtime import Served
from distilrec.scoring import Ragged
from distilrec.serving.engine import Engine
from distilrec.serving.requests import Query
from distilrec.training import TrainingConfig

__all__ = ["SIZES", "main", "measure", "topics"]

SIZES = (20_000, 50_000, 100_000, 200_000, 1_000_000)
QUERIES, TUNED_ON, K = 500, 200, 10
CACHE = Path.home() / ".cache" / "distilrec-large"
LIKED = (0.5, 0.25, 0.15, 0.1)  # shares of a user's four topics
STRAY = 0.15  # of what a user takes is of any topic


def topics(n_items: int, *, seed: int = 0) -> Interactions:
    """Eight interactions per item, five items per user; 500 items per topic on average."""
    rng = np.random.default_rng(seed)
    n_users, n_topics, n = n_items // 5, n_items // 500, 8 * n_items
    share = 1 / np.arange(1, n_topics + 1) ** 0.7
    share /= share.sum()
    sizes = np.maximum(1, rng.multinomial(n_items - n_topics, share))
    sizes[0] += n_items - sizes.sum()
    activity = rng.lognormal(sigma=1.0, size=n_users)
    lengths = rng.multinomial(n, activity / activity.sum()).astype(np.int64)
    liked = rng.choice(n_topics, size=(n_users, len(LIKED)), p=share)
    topic = liked[np.repeat(np.arange(n_users), lengths), rng.choice(len(LIKED), size=n, p=LIKED)]
    stray = rng.random(n) < STRAY
    topic[stray] = rng.choice(n_topics, size=int(stray.sum()), p=share)
    rank = np.exp(rng.random(n) * np.log(sizes[topic] + 1)).astype(np.int64) - 1
    items = (np.cumsum(sizes) - sizes)[topic] + np.minimum(rank, sizes[topic] - 1)
    names = rng.permutation(n_items).astype(np.int32)
    times = np.arange(n, dtype=np.int64)
    return Interactions(Ragged.from_lengths(lengths, names[items]), n_items, times)


def bundle_of(log: Interactions, folder: Path) -> None:
    """Train, and write the bundle."""
    cut = split(log, LeaveLastOut())
    model = build(MatrixFactorizationConfig(embedding_size=64, init_std=0.02), log.n_users, log.n_items, seed=0)
    assert isinstance(model, MatrixFactorization)
    training = TrainingConfig(epochs=3, batch_size=log.n_items // 64, learning_rate=0.01, evaluate_every=3, decay=True)
    fit(model, cut, Supervision(loss="bpr"), training, seed=0, on_epoch=lambda epoch: print(epoch, flush=True))
    items, users = range(log.n_items), range(log.n_users)
    ids = BundleIds(list(items), [str(item) for item in items], list(users), cut.known_at_test.histories)
    queries, targets = cut.queries("test")
    write_bundle(model.eval(), ids, (queries[: QUERIES + TUNED_ON], targets[: QUERIES + TUNED_ON]), folder)


def measure(n_items: int) -> dict[str, Any]:
    """Milliseconds at p50 and p99 of exact and of approximate search, and the latter's recall."""
    folder = CACHE / str(n_items)
    if not folder.exists():
        bundle_of(topics(n_items), folder)
    served = Served.load(folder)
    queries = served.held_out().queries
    begin = time.perf_counter()
    near = Engine.near(served, recall=0.95)
    assert near.nearest is not None
    seconds = time.perf_counter() - begin
    asks = [Query(user=int(user)) for user in queries.users[TUNED_ON:]]
    found: dict[str, list[set[Any]]] = {}
    told = {}
    for name, engine in (("exact", Engine(served)), ("near", near)):
        found[name], times = [], []
        for query in asks:
            begin = time.perf_counter()
            [items] = engine.answer([engine.ask(query, ())])
            times.append(1e3 * (time.perf_counter() - begin))
            found[name].append({item.item for item in items})
        told[name] = {"p50_ms": float(np.percentile(times, 50)), "p99_ms": float(np.percentile(times, 99))}
    recall = np.mean([len(a & b) / K for a, b in zip(found["exact"], found["near"], strict=True)])
    lengths = np.linalg.norm(served.student.vectors, axis=1)
    return {
        "items": n_items,
        **told,
        "recall@10": float(recall),
        "cells": near.nearest.cells,
        "cells_looked_through": near.nearest.looked_through,
        "seconds_to_build": seconds,
        "lengths_of_vectors": {str(p): float(np.percentile(lengths, p)) for p in (0, 10, 50, 90, 99, 100)},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the sizes that have no result yet, and sum up once all have one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large_catalogue")
    parser.add_argument("--items", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    cells, folder = [], given.out / "large_catalogue"
    for n_items in given.items:
        path = folder / f"{n_items}.json"
        if not path.exists():
            command = f"python -m benchmarks.large_catalogue --items {n_items}"
            write_result(str(n_items), command, _figures(detail := measure(n_items)), detail, folder=folder)
        cells.append(json.loads(path.read_bytes())["detail"])
        print(cells[-1], flush=True)
    command = "python -m benchmarks.large_catalogue"
    print(write_result("large_catalogue", command, _figures(cells[-1]), {"sizes": cells}, folder=given.out))


def _figures(cell: dict[str, Any]) -> dict[str, float]:
    return {"p50_over_exact": cell["near"]["p50_ms"] / cell["exact"]["p50_ms"], "recall@10": cell["recall@10"]}


if __name__ == "__main__":
    main()
