"""From a new item to a recommendation of it: `python -m benchmarks.add_item`.

A student of the shape of recipes/cold-items.yaml, its weights random, since time doesn't depend on them, takes one item
by the vectors of its text, poster and soundtrack, and recommends to a user who has taken it. What is timed is
`add_items` and `recommend` together, by one thread, on the catalogue of ml-1m and on one of 100,000 items.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from benchmarks.harness import RESULTS, write_result
from distilrec.bundle import Bundle
from distilrec.data import Features
from distilrec.models import Catalogue, ContentConfig, HistoryEncoderConfig, build
from distilrec.rng import generator

__all__ = ["bundle_of", "main", "milliseconds"]

WIDTHS = {"text": 384, "poster": 1280, "audio": 128}
FILMS, MANY = 3_706, 100_000


def bundle_of(n_items: int) -> Bundle:
    """A bundle of an untrained student."""
    rng = generator(0, "add item")
    known = np.ones(n_items, np.bool_)
    features = {
        name: Features(rng.normal(size=(n_items, width)).astype(np.float32), known) for name, width in WIDTHS.items()
    }
    config = HistoryEncoderConfig(
        embedding_size=32, history_length=100, content=ContentConfig(modalities=tuple(WIDTHS))
    )
    model = build(config, 1, n_items, seed=0, catalogue=Catalogue(features, known)).eval()
    items = pl.DataFrame({"item": range(n_items), "title": [f"Film {n}" for n in range(n_items)]})
    return Bundle(model, items, pl.DataFrame({"user": [0], "history": [[0]]}))


def milliseconds(bundle: Bundle, rounds: int) -> list[float]:
    """Of adding one item by its vectors, and recommending after it."""
    new = pl.DataFrame({"item": [-1], "title": ["New"]})
    vectors = {name: generator(1, name).normal(size=(1, width)).astype(np.float32) for name, width in WIDTHS.items()}
    history = list(range(99))
    times = []
    for turn in range(-3, rounds):
        begin = time.perf_counter()
        bundle.add_items(new, vectors=vectors).recommend(histories=[[*history, -1]], k=10)
        if turn >= 0:
            times.append(1e3 * (time.perf_counter() - begin))
    return times


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure both catalogues, and write results/add_item.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.add_item")
    parser.add_argument("--rounds", type=int, default=25, help="items that are added, one after the other")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    runs = {str(n_items): milliseconds(bundle_of(n_items), given.rounds) for n_items in (FILMS, MANY)}
    medians = {name: statistics.median(times) for name, times in runs.items()}
    figures = {"milliseconds": medians[str(FILMS)], "milliseconds_100k_items": medians[str(MANY)]}
    detail: dict[str, Any] = {"milliseconds": runs, "widths": WIDTHS}
    print(write_result("add_item", "python -m benchmarks.add_item", figures, detail, folder=given.out), figures)


if __name__ == "__main__":
    main()
