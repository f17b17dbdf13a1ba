"""Trains a small SASRec, and waits after each epoch for a line on stdin; killed and resumed by a test."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from distilrec import training
from distilrec.data import LeaveLastOut, cycles, split
from distilrec.models import SASRecConfig, Supervision, build, fit
from distilrec.training import Epoch, TrainingConfig

EPOCHS = 12


def work(checkpoint: Path, on_epoch: Callable[[Epoch], None]) -> bytes:
    """The bytes of the trained weights."""
    data = split(cycles(n_users=200).interactions, LeaveLastOut())
    config = SASRecConfig(embedding_size=16, layers=1, dropout=0.3, history_length=5)
    model = build(config, data.train.n_users, data.train.n_items, seed=0)
    settings = TrainingConfig(
        epochs=EPOCHS, evaluate_every=2, batch_size=64, learning_rate=0.002, warmup_steps=60, average=0.9
    )
    training.CHECKPOINT_SECONDS = 0.0
    fit(model, data, Supervision(), settings, seed=0, checkpoint=checkpoint, on_epoch=on_epoch)
    return b"".join(value.numpy().tobytes() for value in model.state_dict().values())


def wait(epoch: Epoch) -> None:
    """Say that the epoch is done, and go on when told to."""
    print(epoch.number, flush=True)  # noqa: T201
    sys.stdin.readline()


if __name__ == "__main__":
    work(Path(sys.argv[1]), wait)
