"""How time and memory grow with the log: `python -m benchmarks.scale`.

Synthetic logs of 1M, 10M and 100M interactions with 10k, 100k and 1M users over 200k items, whose popularity is about
1 / rank. Each size runs in a process of its own, whose largest memory counts: the log is read from Parquet, one epoch
is trained, the top 100 of each user are recorded, the test queries are evaluated. A size that has a result under
results/scale/ isn't run again.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmarks.harness import RESULTS, ROOT, write_result
from distilrec.data import Columns, DataConfig, final_queries, load, zipf
from distilrec.models import MatrixFactorization, MatrixFactorizationConfig, Supervision, fit
from distilrec.ranking import evaluate
from distilrec.soft_labels import RecordConfig, record
from distilrec.training import TrainingConfig

__all__ = ["SIZES", "main", "measure", "write_log"]

ITEMS = 200_000
# Interactions and users.
SIZES = {"1m": (1_000_000, 10_000), "10m": (10_000_000, 100_000), "100m": (100_000_000, 1_000_000)}
WIDTH, THREADS = 32, 2
ROWS = 10_000_000  # written at once
GIB = 2**30


def write_log(path: Path, n_interactions: int, n_users: int, n_items: int = ITEMS) -> None:
    """A Parquet file with the columns user, item and time, its users in random order."""
    log = zipf(n_users, n_items, n_interactions)
    users = np.random.default_rng(0).permutation(n_users)
    bounds = np.searchsorted(log.histories.stops, np.arange(ROWS, n_interactions + ROWS, ROWS), side="right")
    schema = pa.schema([("user", pa.int64()), ("item", pa.int32()), ("time", pa.int64())])
    with pq.ParquetWriter(path, schema) as file:
        for first, last in zip([0, *bounds[:-1]], bounds, strict=True):
            rows, positions = log.histories[first:last].positions()
            columns = [users[first + rows], log.histories.values[positions], positions]
            file.write_table(pa.table(columns, schema=schema))


def measure(path: Path, folder: Path) -> dict[str, Any]:
    """Seconds of each stage, and the largest memory of this process so far."""
    torch.set_num_threads(THREADS)
    seconds: dict[str, float] = {}
    begin = time.perf_counter()

    def done(stage: str) -> None:
        seconds[stage] = time.perf_counter() - begin - sum(seconds.values())

    columns = Columns(user="user", item="item", time="time")
    split = load(DataConfig(source=str(path), columns=columns)).split
    done("load")
    torch.manual_seed(0)
    config = MatrixFactorizationConfig(embedding_size=WIDTH)
    model = MatrixFactorization(config, split.log.n_users, split.log.n_items)
    training = TrainingConfig(epochs=1, batch_size=131_072, learning_rate=0.01)
    fit(model, split, Supervision(loss="bpr"), training, seed=0)
    done("train one epoch")
    queries, ids = final_queries(split.train)
    labels = record(
        model,
        queries,
        ids,
        folder / "labels",
        RecordConfig(k=100, tail=0),
        seed=0,
        data_fingerprint="zipf",
        teacher_fingerprint="matrix factorisation",
    )
    done("record top 100")
    tested, targets = split.queries("test")
    evaluate(model, tested, targets)
    done("evaluate")
    return {
        "seconds": seconds,
        "seconds_total": sum(seconds.values()),
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB,
        "interactions_without_repeats": len(split.log),
        "items_taken": split.log.n_items,
        "recorded": len(labels),
        "tested": len(tested),
    }


def figures(cells: dict[str, dict[str, Any]]) -> dict[str, float]:
    """What is asked of this benchmark, from the details of its sizes."""
    return {
        "seconds_10m_over_1m": cells["10m"]["seconds_total"] / cells["1m"]["seconds_total"],
        "seconds_100m_over_10m": cells["100m"]["seconds_total"] / cells["10m"]["seconds_total"],
        "peak_gib_10m": cells["10m"]["peak_gib"],
        "peak_gib_100m": cells["100m"]["peak_gib"],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the sizes that have no result yet, and sum up once all have one."""
    given = _parser().parse_args(arguments)
    if given.log is not None:
        print(json.dumps(measure(given.log, given.log.parent)))
        return
    results = given.out / "scale"
    for name in given.sizes:
        if not (results / f"{name}.json").exists():
            _cell(name, results)
    paths = {name: results / f"{name}.json" for name in SIZES}
    missing = [name for name, path in paths.items() if not path.exists()]
    if missing:
        print("Not measured yet:", ", ".join(missing))
        return
    cells = {name: json.loads(path.read_bytes())["detail"] for name, path in paths.items()}
    print(write_result("scale", "python -m benchmarks.scale", figures(cells), cells, folder=given.out), figures(cells))


def _cell(name: str, results: Path) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        write_log(folder / "log.parquet", *SIZES[name])
        command = [sys.executable, "-m", "benchmarks.scale", "--log", str(folder / "log.parquet")]
        answer = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    finally:
        shutil.rmtree(folder)
    detail = {"threads": THREADS, "width": WIDTH, **json.loads(answer)}
    found = {"seconds_total": detail["seconds_total"], "peak_gib": detail["peak_gib"]}
    command_line = f"python -m benchmarks.scale --sizes {name}"
    print(write_result(name, command_line, found, detail, folder=results), detail, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--log", type=Path, help="measure this log in this process and print the result")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    return parser


if __name__ == "__main__":
    main()
