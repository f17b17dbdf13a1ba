"""Topology distillation's published figures on CiteULike, reproduced: `python -m benchmarks.htd`.

Kang et al., KDD 2021, trained with the settings of their public code: BPR of width 200 as the teacher, BPR of width 20
alone, with FTD and with HTD. DISTILREC_DATA names the folder that holds citeulike/interactions.parquet, with columns
user_id, item_id and split. Every cell, an arm with a seed, is written to results/htd/ as it ends; a run begun again
keeps what is there, and a deleted cell is measured anew. The means over seeds are in results/htd.json, and beside the
figures of results/methods_citeulike.json. Teachers are kept in ~/.cache/distilrec-htd.

As in theirs: the loss is a sum over interactions plus lambda times a sum over pairs; L2 of all weights is added to
their gradients at each step, which is what their Adam does (AdamW without decay is Adam); a negative for each
interaction is drawn anew in each epoch among what the user didn't take in training; the last of 101 epochs counts, and
nothing is chosen on validation or test. They report one run; here are five, each with a teacher of its own.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import RESULTS, add_figures, write_result
from benchmarks.htd_training import BATCH, EPOCHS, METRIC, Arm, measure, say
from distilrec.data import Columns, ColumnSplit, DataConfig, Split, final_queries, load
from distilrec.distillation.methods import FTD, HTD
from distilrec.models import MatrixFactorization
from distilrec.soft_labels import RecordConfig, SoftLabels, record

__all__ = ["ARMS", "PUBLISHED", "figures", "main"]

SEEDS, THREADS = 5, 2
CACHE = Path.home() / ".cache" / "distilrec-htd"
PUBLISHED = {"teacher": 0.3123, "bpr": 0.2276, "ftd": 0.2516, "htd": 0.2744}

# No entity of a batch is left out: it has at most 1,024 users, and as many items and negatives.
ARMS = {
    "teacher": Arm(200),
    "bpr": Arm(20),
    "ftd": Arm(20, FTD(reduction="sum", entities=2 * BATCH, others=0)),
    "htd": Arm(20, HTD(reduction="sum", entities=2 * BATCH, others=0, groups=30, topology=0.5, annealing=100)),
}


def read() -> Split:
    """The data in their own split."""
    columns = Columns(user="user_id", item="item_id", part="split")
    return load(DataConfig(source="citeulike", columns=columns, split=ColumnSplit())).split


@dataclass(frozen=True)
class Run:
    """Cells of one length in one folder."""

    split: Split
    epochs: int
    results: Path
    teachers: Path

    def cell(self, name: str, seed: int) -> None:
        """Measure and write one, and keep the model if it is a teacher."""
        begin = time.perf_counter()
        labels = None if name == "teacher" or ARMS[name].method is None else self.taught(seed)
        model, detail = measure(ARMS[name], name, self.split, labels, seed, self.epochs)
        detail["published"] = PUBLISHED[name]
        if name == "teacher":
            self.keep(model, seed)
        test = detail[f"test_{METRIC}"][-1]
        command = f"python -m benchmarks.htd --arms {name} --seeds {seed}" + _shorter(self.epochs)
        write_result(f"{name}.{seed}", command, {f"test_{METRIC}": test}, detail, folder=self.results)
        say(f"{name}.{seed}: {test:.4f}, published {PUBLISHED[name]:.4f}; {time.perf_counter() - begin:.0f} s")

    def taught(self, seed: int) -> SoftLabels:
        """What the seed's teacher says, which is trained first where it isn't at hand."""
        folder = self.folder(seed)
        if not (folder / "manifest.json").exists():
            self.cell("teacher", seed)
        return SoftLabels.open(folder)

    def folder(self, seed: int) -> Path:
        """Where the seed's teacher is kept."""
        return self.teachers / f"teacher-{seed}-{self.epochs}"

    def keep(self, teacher: MatrixFactorization, seed: int) -> None:
        """Record its vectors, as they are, in the place of those of an earlier one."""
        shutil.rmtree(self.folder(seed), ignore_errors=True)
        config = RecordConfig(kind="factored", k=1, tail=0, dtype="float32")
        queries, ids = final_queries(self.split.train)
        record(
            teacher,
            queries,
            ids,
            self.folder(seed),
            config,
            seed=seed,
            data_fingerprint="citeulike",
            teacher_fingerprint=f"BPR of width {teacher.width}, seed {seed}",
        )


def figures(cells: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Means over seeds, from the results of all cells."""

    def mean(arm: str) -> float:
        return statistics.mean(float(cells[f"{arm}.{seed}"]["figures"][f"test_{METRIC}"]) for seed in range(SEEDS))

    students = {f"{arm}_reproduced_{METRIC}_width20": mean(arm) for arm in ("bpr", "ftd", "htd")}
    return {**students, f"teacher_reproduced_{METRIC}_width200": mean("teacher")}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the cells that have no result yet, and sum up once all have one."""
    given = _parser().parse_args(arguments)
    torch.set_num_threads(given.threads)
    run = Run(read(), given.epochs, given.out / "htd", given.teachers)
    for seed in given.seeds:
        for name in ARMS:
            if name in given.arms and not (run.results / f"{name}.{seed}.json").exists():
                run.cell(name, seed)
    paths = {f"{name}.{seed}": run.results / f"{name}.{seed}.json" for name in ARMS for seed in range(SEEDS)}
    missing = [name for name, path in paths.items() if not path.exists()]
    if missing:
        say(f"Not measured yet: {', '.join(missing)}")
        return
    cells = {name: json.loads(path.read_bytes()) for name, path in paths.items()}
    command = "python -m benchmarks.htd" + _shorter(run.epochs)
    found = figures(cells)
    print(write_result("htd", command, found, cells, folder=given.out))
    if run.epochs == EPOCHS:
        add_figures("methods_citeulike", found, given.out)


def _shorter(epochs: int) -> str:
    return "" if epochs == EPOCHS else f" --epochs {epochs}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.htd")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, choices=range(SEEDS), default=list(range(SEEDS)))
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="fewer for a trial")
    parser.add_argument("--threads", type=int, default=THREADS)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--teachers", type=Path, default=CACHE, help="folder in which teachers are kept")
    return parser


if __name__ == "__main__":
    main()
