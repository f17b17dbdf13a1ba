"""What a training step of each distillation method costs beside one of plain soft labels.

    python -m benchmarks.losses

A synthetic log with CiteULike's items, a random teacher with vectors, true labels by softmax in every step (alpha 1/2).
Two students: matrix factorisation, and a history encoder. A method is timed in turn with `kl`, round after round; a
step's cost is the median over rounds, and its ratio that of the medians; the worst of all methods and both students is
`worst_step_cost_over_kl`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import write_result
from distilrec.data import LeaveLastOut, Split, final_queries, prefix_queries, split, zipf
from distilrec.distillation import KL, METHODS, DistillationConfig, Method, distil
from distilrec.models import (
    DotProductModel,
    HistoryEncoderConfig,
    MatrixFactorizationConfig,
    ModelConfig,
    Supervision,
    build,
)
from distilrec.rng import generator
from distilrec.soft_labels import RecordConfig, SoftLabels, record
from distilrec.training import TrainingConfig

__all__ = ["main", "measure"]

ITEMS, PER_USER = 25_000, 25
TEACHER_WIDTH, LENGTH = 100, 50
ROUNDS, EPOCHS = 5, 3
# Settings, batch size, and users of the log.
STUDENTS: dict[str, tuple[ModelConfig, int, int]] = {
    "matrix_factorization": (MatrixFactorizationConfig(embedding_size=20), 512, 5_000),
    "history_encoder": (HistoryEncoderConfig(embedding_size=20, heads=4, history_length=LENGTH), 32, 200),
}
# What costs most of rd begins after its warm-up.
SETTINGS: dict[str, dict[str, Any]] = {"rd": {"warmup": 0}}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write results/losses.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.losses", description=__doc__)
    parser.add_argument("--methods", help="names, such as rrd,de; default: all. A part isn't written to results/.")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    names = chosen.methods.split(",") if chosen.methods else sorted(METHODS.keys() - {KL().name})
    detail: dict[str, Any] = {}
    for student, (_, _, n_users) in STUDENTS.items():
        log = split(zipf(n_users, ITEMS, PER_USER * n_users), LeaveLastOut())
        with tempfile.TemporaryDirectory() as folder:
            detail[student] = measure(
                log, student, [METHODS[name](**SETTINGS.get(name, {})) for name in names], Path(folder)
            )
    ratios = {name: max(found[name]["over_kl"] for found in detail.values() if name in found) for name in names}
    for name, ratio in sorted(ratios.items(), key=lambda pair: -pair[1]):
        print(f"{name:20} {ratio:6.2f}")
    if chosen.methods is None:
        figures = {"worst_step_cost_over_kl": max(ratios.values())}
        print(write_result("losses", "python -m benchmarks.losses", figures, detail))


def measure(data: Split, name: str, methods: Sequence[Method], folder: Path, rounds: int = ROUNDS) -> dict[str, Any]:
    """Milliseconds of a step with each method that fits the student, and its ratio to `kl`."""
    config, batch_size, _ = STUDENTS[name]
    reads_histories = name == "history_encoder"
    stores = [_record(data, folder / str(number), number, reads_histories) for number in range(4)]
    members = {"a": (stores[0], stores[1]), "b": (stores[2], stores[3])}
    fitting = [method for method in methods if not (reads_histories and "users" in method.needs)]
    times: dict[str, list[float]] = {method.name: [] for method in (KL(), *fitting)}
    for turn in range(rounds):
        for method in (KL(), *fitting):
            print(f"{name}, round {turn + 1} of {rounds}: {method.name}", file=sys.stderr)
            model = build(config, data.train.n_users, data.train.n_items, seed=0)
            assert isinstance(model, DotProductModel)
            times[method.name].append(_step_seconds(model, data, stores[0], members, method, batch_size))
    medians = {method: statistics.median(seconds) for method, seconds in times.items()}
    return {
        method: {"milliseconds": 1e3 * median, "over_kl": median / medians[KL().name], "all": times[method]}
        for method, median in medians.items()
    }


def _record(data: Split, folder: Path, seed: int, reads_histories: bool) -> SoftLabels:
    """The store of a random teacher of the student's kind; seen items stay in, since a method may look for targets."""
    sizes = data.train.n_users, data.train.n_items
    kinds: dict[bool, ModelConfig] = {
        True: HistoryEncoderConfig(embedding_size=TEACHER_WIDTH, heads=4, history_length=LENGTH),
        False: MatrixFactorizationConfig(embedding_size=TEACHER_WIDTH, init_std=0.5),
    }
    teacher = build(kinds[reads_histories], *sizes, seed=seed).requires_grad_(False).eval()
    queries, ids = prefix_queries(data.train, LENGTH) if reads_histories else final_queries(data.train)
    settings = RecordConfig(kind="factored", filter_seen=False)
    options: dict[str, Any] = {"seed": 0, "data_fingerprint": "zipf", "teacher_fingerprint": str(seed)}
    return record(teacher, queries, ids, folder, settings, **options)


def _step_seconds(
    model: DotProductModel,
    data: Split,
    labels: SoftLabels,
    members: Mapping[str, tuple[SoftLabels, ...]],
    method: Method,
    batch_size: int,
) -> float:
    """Seconds per step of the last epoch but one: the first builds what is built once, and the last is validated."""
    training = TrainingConfig(epochs=EPOCHS, evaluate_every=EPOCHS, batch_size=batch_size)
    config = DistillationConfig(methods=(method,))
    curve = distil(model, data, labels, config, Supervision(), training, seed=0, members=members)
    batches = model.batches(data.train, Supervision(), batch_size)
    n_steps = sum(1 for _ in batches.epoch(generator(0, "steps")))
    return curve[-2].seconds / n_steps


if __name__ == "__main__":
    main()
