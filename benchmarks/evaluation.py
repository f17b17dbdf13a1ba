"""Full-ranking evaluation beside its floor and beside RecBole: `python -m benchmarks.evaluation`.

The floor is what any evaluation has to do: all scores by a product of matrices, seen items masked, the best 20 found,
in plain torch and in chunks of whichever size is fastest for it. Ours adds deterministic ties, metrics and checks.
Beside RecBole both sides validate a matrix factorisation of width 64 on the same queries, each in its own way. Both
sides take turns, with two threads; the quickest turn counts, since whatever else the machine does only adds.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.harness import RESULTS, write_result
from benchmarks.peers import Peer
from benchmarks.side_by_side import table
from distilrec.data import DataConfig, load
from distilrec.models import MatrixFactorization, MatrixFactorizationConfig
from distilrec.ranking import evaluate
from distilrec.scoring import Queries, Ragged

__all__ = ["floor", "main", "queries_of", "timed", "turns"]

# Items, and users so many that a pass takes about a second.
SIZES = {"1k7": (1_682, 40_000), "50k": (50_000, 4_000), "500k": (500_000, 400)}
CHUNKS = (16, 64, 256, 1024)
WIDTH, SEEN, K, THREADS = 64, 50, 20, 2
TURN = 0.5  # seconds
METRICS = ("ndcg@10", "recall@20")


def queries_of(n_users: int, n_items: int, seed: int = 0) -> tuple[Queries, Ragged]:
    """One query per user with SEEN random items in its history, and a random target."""
    rng = np.random.default_rng(seed)
    lengths = np.full(n_users, SEEN, np.int64)
    histories = Ragged.from_lengths(lengths, rng.integers(0, n_items, n_users * SEEN).astype(np.int32))
    targets = Ragged.from_lengths(np.ones(n_users, np.int64), rng.integers(0, n_items, n_users).astype(np.int32))
    return Queries(np.arange(n_users, dtype=np.int32), histories), targets


@torch.inference_mode()
def floor(model: MatrixFactorization, queries: Queries, chunk: int) -> NDArray[np.int64]:
    """(Q, K): the best items of each query, ties as they fall."""
    items, bias = model.item_vectors(), model.item_bias()
    assert bias is not None
    rows, seen = queries.masked.flat()
    best = np.empty((len(queries), K), np.int64)
    ends = np.cumsum(queries.masked.lengths)
    for begin in range(0, len(queries), chunk):
        end = min(begin + chunk, len(queries))
        scores = torch.addmm(bias, model.users[begin:end], items.T)
        part = slice(ends[begin] - queries.masked.lengths[begin], ends[end - 1])
        scores[torch.from_numpy(rows[part] - begin), torch.from_numpy(seen[part]).long()] = -torch.inf
        best[begin:end] = scores.topk(K).indices.numpy()
    return best


def turns(sides: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Mean seconds of each side, which tells those of a run, in turn.

    A turn begins with a run that warms up and isn't counted, and holds as many as take TURN seconds, at least one.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            side()
            runs = [side()]
            while sum(runs) < TURN:
                runs.append(side())
            seconds[name].append(statistics.fmean(runs))
    return seconds


def timed(work: Callable[[], object]) -> float:
    """How many seconds it takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def beside_floor(n_items: int, n_users: int, rounds: int) -> dict[str, Any]:
    """Seconds of both, and the largest memory of this process so far."""
    queries, targets = queries_of(n_users, n_items)
    model = MatrixFactorization(MatrixFactorizationConfig(embedding_size=WIDTH), n_users, n_items)
    trial = queries[: min(n_users, 4 * max(CHUNKS))]
    tried = turns({str(chunk): partial(timed, partial(floor, model, trial, chunk)) for chunk in CHUNKS}, 3)
    chunk = int(min(tried, key=lambda name: min(tried[name])))
    before = _peak_mib()
    seconds = turns(
        {
            "floor": lambda: timed(lambda: floor(model, queries, chunk)),
            "ours": lambda: timed(lambda: evaluate(model, queries, targets, METRICS)),
        },
        rounds,
    )
    best = {name: min(values) for name, values in seconds.items()}
    return {
        "users": n_users,
        "items": n_items,
        "chunk_of_floor": chunk,
        "seconds": seconds,
        "users_per_second": {name: n_users / value for name, value in best.items()},
        "fraction": best["floor"] / best["ours"],
        "peak_mib": {"before": before, "after": _peak_mib()},
    }


def beside_recbole(data: str, rounds: int) -> dict[str, Any]:
    """Seconds of RecBole's validation and of ours, for the same users, items and metric."""
    split = load(DataConfig(source=data)).split
    queries, targets = split.queries("validation")
    model = MatrixFactorization(MatrixFactorizationConfig(embedding_size=WIDTH), split.log.n_users, split.log.n_items)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "interactions.npy"
        np.save(path, table(split))
        with Peer("recbole", "recbole_training", [str(path), "BPR", "0"], threads=THREADS) as peer:
            sides: dict[str, Callable[[], float]] = {
                "ours": lambda: timed(lambda: evaluate(model, queries, targets)),
                "theirs": lambda: float(peer.ask("validate")["seconds"]),
            }
            seconds = turns(sides, rounds)
            about = peer.ask("about")
    speedup = min(seconds["theirs"]) / min(seconds["ours"])
    return {"peer": about, "seconds": seconds, "queries": len(queries), "speedup": speedup}


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write evaluation.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each side")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result")
    given = parser.parse_args(arguments)
    torch.set_num_threads(THREADS)
    floors = {name: beside_floor(*size, given.rounds) for name, size in SIZES.items()}
    peers = {data: beside_recbole(data, given.rounds) for data in ("ml-100k", "ml-1m")}
    figures = {
        "speedup_vs_recbole": min(peer["speedup"] for peer in peers.values()),
        **{f"fraction_of_floor_{name}": measured["fraction"] for name, measured in floors.items()},
    }
    detail: dict[str, Any] = {"threads": THREADS, "floor": floors, "recbole": peers}
    print(write_result("evaluation", "python -m benchmarks.evaluation", figures, detail, folder=given.out), figures)


if __name__ == "__main__":
    main()
