"""Training beside RecBole, implicit and RecTools: `python -m benchmarks.training`.

Every cell, a model on a data set beside one peer, is written to results/training/ as it ends; a run begun again keeps
what is there, and a deleted cell is measured anew. Both sides have the same interactions, leave-last-out, and two
threads. Training epochs are timed in turn. In a race, both sides validate after each epoch, each in its own way, and
the time of training and validation counts, that of reading and preparing the data doesn't.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import RESULTS, write_result
from benchmarks.peers import Peer
from benchmarks.side_by_side import METRIC, Ours, Theirs, in_turn, last_items, our_course, quality, table
from distilrec.data import DataConfig, Split, load
from distilrec.models import MatrixFactorizationConfig, SASRecConfig, Supervision
from distilrec.training import TrainingConfig

__all__ = ["CELLS", "Budget", "Cell", "figures", "main", "measure", "ours"]

DATA = ("ml-100k", "ml-1m")
WIDTH, LENGTH, THREADS = 64, 50, 2
PATIENCE = 10  # RecBole's default
ITERATIONS = {"bpr": 100, "als": 15}  # implicit's defaults; it doesn't stop early, so its best epoch counts
SEEDS = {"bpr": 5, "sasrec": 1}  # of our races: those of BPR take seconds and hang on the seed; their median counts

Found = tuple[dict[str, float], dict[str, Any]]


@dataclass(frozen=True)
class Cell:
    """One model on one data set beside one peer."""

    model: str
    data: str
    peer: str

    @property
    def name(self) -> str:
        """Such as `bpr.ml-100k.recbole`."""
        return f"{self.model}.{self.data}.{self.peer}"


KINDS = (("bpr", "recbole"), ("bpr", "implicit"), ("als", "implicit"), ("sasrec", "rectools"), ("sasrec", "recbole"))
CELLS = [Cell(model, data, peer) for model, peer in KINDS for data in DATA]


@dataclass(frozen=True)
class Budget:
    """How much is trained.

    rounds: epochs timed in turn. epochs: most of either side in a race. minutes: of a peer's training and validation;
    the epoch in which they end is broken off, and the model counts as it then is.
    """

    rounds: int = 5
    epochs: int = 300
    minutes: float = 20.0


def ours(cell: Cell) -> Ours:
    """Our settings: in a race they are ours to choose, beside RecTools those of the peer."""
    if cell.model == "bpr":
        settings = {
            "ml-100k": {"batch_size": 32768, "learning_rate": 0.04, "weight_decay": 0.3, "average": 0.93},
            "ml-1m": {"batch_size": 32768, "learning_rate": 0.01, "weight_decay": 0.2, "average": 0.99},
        }
        return Ours(
            MatrixFactorizationConfig(embedding_size=WIDTH, init_std=0.01 if cell.data == "ml-100k" else 0.05),
            Supervision(loss="bpr"),
            TrainingConfig(epochs=150, patience=30, **settings[cell.data]),
        )
    if cell.peer == "rectools":
        # RecTools reads all but the last of LENGTH + 1 items, where ours reads that, too; its inner layer has width D.
        model = SASRecConfig(embedding_size=WIDTH, history_length=LENGTH + 1, feed_forward=1, dropout=0.2)
        return Ours(model, Supervision(), TrainingConfig(batch_size=128, learning_rate=0.001))
    dropout, epochs = (0.4, 60) if cell.data == "ml-100k" else (0.2, 8)
    return Ours(
        SASRecConfig(embedding_size=WIDTH, history_length=LENGTH, feed_forward=4, dropout=dropout),
        Supervision(),
        TrainingConfig(epochs=epochs, patience=PATIENCE, batch_size=64, learning_rate=0.002),
    )


def measure(cell: Cell, budget: Budget) -> Found:
    """The figures of a cell, and all behind them."""
    split = load(DataConfig(source=cell.data)).split
    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "interactions.npy"
        np.save(data, table(split))
        with Peer(cell.peer, f"{cell.peer}_training", _arguments(cell, data), threads=THREADS) as peer:
            about = peer.ask("about")
            theirs = Theirs(peer, split, Path(name), 60 * budget.minutes)
            found, detail = (_epochs if cell.peer == "rectools" else _race)(cell, split, theirs, budget)
    return found, {
        "peer": about,
        "threads": THREADS,
        "most_minutes": budget.minutes,
        **detail,
    }


def _arguments(cell: Cell, data: Path) -> list[str]:
    if cell.peer == "rectools":
        return [str(data), str(LENGTH), str(ours(cell).training.batch_size), "0"]
    return [str(data), {"bpr": "BPR", "als": "ALS", "sasrec": "SASRec"}[cell.model], "0"]


def _epochs(cell: Cell, split: Split, theirs: Theirs, budget: Budget) -> Found:
    """Epochs over the same last items of each user, in turn; then what both have learned from them."""
    settings = ours(cell)
    model = settings.built(split, 0)
    epoch = in_turn(settings, model, last_items(split, LENGTH + 1), theirs.train, budget.rounds)
    reached = {"ours": quality(model, split, "validation"), "theirs": theirs.quality("validation")}
    detail = {"settings": _settings(settings), "epoch": epoch, f"validation_{METRIC}": reached}
    return {"epoch_speedup": epoch["speedup"]}, detail


def _race(cell: Cell, split: Split, theirs: Theirs, budget: Budget) -> Found:
    """The peer to its end, then ours; the quality to reach is the peer's best on validation."""
    found: dict[str, float] = {}
    detail: dict[str, Any] = {}
    if cell.model == "bpr":
        settings = ours(cell)
        detail["epoch"] = in_turn(settings, settings.built(split, 0), split, theirs.epoch, budget.rounds)
        found["epoch_speedup"] = detail["epoch"]["speedup"]
    most = ITERATIONS[cell.model] if cell.peer == "implicit" else budget.epochs
    theirs.to_the_end(min(most, budget.epochs), most if cell.peer == "implicit" else PATIENCE)
    detail["theirs"] = {**theirs.course.detail(), "last_epoch_broken_off": theirs.broken_off}
    found[f"theirs_test_{METRIC}"] = theirs.course.test
    if cell.model == "als":
        return found, detail  # distilrec has no alternating least squares
    raced, behind = _our_races(cell, split, theirs.course.best, budget)
    their_seconds = theirs.course.seconds_until(theirs.course.best)
    assert their_seconds is not None
    found |= {"time_to_quality_speedup": their_seconds / raced["seconds"], f"ours_test_{METRIC}": raced["test"]}
    return found, {**detail, "seconds_to_quality": {"ours": behind["until"], "theirs": their_seconds}, **behind}


def _our_races(cell: Cell, split: Split, target: float, budget: Budget) -> Found:
    """Median seconds until `target`, inf where most seeds never get there, and the mean test quality."""
    settings = ours(cell)
    training = settings.training.model_copy(update={"epochs": min(settings.training.epochs, budget.epochs)})
    settings = Ours(settings.model, settings.supervision, training)
    courses = [our_course(settings, split, seed) for seed in range(SEEDS[cell.model])]
    until = [course.seconds_until(target) for course in courses]
    seconds = statistics.median(float("inf") if value is None else value for value in until)
    summary = {"seconds": seconds, "test": statistics.mean(course.test for course in courses)}
    behind = {"settings": _settings(settings), "until": until, "ours": [course.detail() for course in courses]}
    return summary, behind


def _settings(settings: Ours) -> dict[str, Any]:
    parts = ("model", "supervision", "training")
    return {part: getattr(settings, part).model_dump(mode="json") for part in parts}


def figures(cells: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """What is asked of this benchmark, from the results of its cells: of both data sets the smaller speed-up.

    Beside RecTools it is that of ml-1m.
    """

    def smaller(model: str, key: str) -> float:
        return min(float(cells[f"{model}.{data}.recbole"]["figures"][key]) for data in DATA)

    return {
        "bpr_epoch_speedup_vs_recbole": smaller("bpr", "epoch_speedup"),
        "bpr_time_to_quality_speedup_vs_recbole": smaller("bpr", "time_to_quality_speedup"),
        "sasrec_time_to_quality_speedup_vs_recbole": smaller("sasrec", "time_to_quality_speedup"),
        "sasrec_epoch_speedup_vs_rectools": float(cells["sasrec.ml-1m.rectools"]["figures"]["epoch_speedup"]),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the cells that have no result yet, and sum up once all have one."""
    given = _parser().parse_args(arguments)
    minutes = "" if given.minutes == Budget.minutes else f" --minutes {given.minutes:g}"
    folder = given.out / "training"
    for cell in CELLS:
        if cell.name in given.only and not (folder / f"{cell.name}.json").exists():
            found, detail = measure(cell, Budget(given.rounds, given.epochs, given.minutes))
            command = f"python -m benchmarks.training --only {cell.name}{minutes}"
            print(write_result(cell.name, command, found, detail, folder=folder), found, flush=True)
    paths = {cell.name: folder / f"{cell.name}.json" for cell in CELLS}
    missing = [name for name, path in paths.items() if not path.exists()]
    if missing:
        print("Not measured yet:", ", ".join(missing))
    else:
        cells = {name: json.loads(path.read_bytes()) for name, path in paths.items()}
        command = f"python -m benchmarks.training{minutes}"
        print(write_result("training", command, figures(cells), cells, folder=given.out))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training")
    names = [cell.name for cell in CELLS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="CELL", help=", ".join(names))
    parser.add_argument("--minutes", type=float, default=Budget.minutes, help="most minutes of a peer's training")
    parser.add_argument("--epochs", type=int, default=Budget.epochs, help="most epochs in a race; fewer for a trial")
    parser.add_argument("--rounds", type=int, default=Budget.rounds, help="epochs timed in turn")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    return parser


if __name__ == "__main__":
    main()
