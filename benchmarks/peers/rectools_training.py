"""RecTools' SASRec, an epoch at a time: `python -m benchmarks.peers.rectools_training DATA LENGTH BATCH SEED`.

DATA: as in recbole_training. Width 64, two blocks, two heads, softmax over all items; the last LENGTH + 1 training
items of each user.
"""

from __future__ import annotations

import sys
import time
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Callback, Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

from benchmarks.peers.channel import serve

SETTINGS: dict[str, Any] = {
    "n_factors": 64,
    "n_blocks": 2,
    "n_heads": 2,
    "dropout_rate": 0.2,
    "loss": "softmax",
    "lr": 0.001,
}


class Clock(Callback):  # type: ignore[misc]  # not installed where types are checked
    """Seconds of each training epoch, without what Lightning does before and after."""

    seconds = 0.0

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin."""
        type(self).seconds = -time.perf_counter()

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """End."""
        type(self).seconds += time.perf_counter()


def trainer() -> Trainer:
    """RecTools' own, with a clock."""
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return Trainer(max_epochs=1, accelerator="cpu", devices=1, enable_model_summary=False, callbacks=[Clock()], **quiet)


class Training:
    """RecTools' model, trained by `fit_partial`."""

    def __init__(self, data: str, length: str, batch_size: str, seed: str) -> None:
        self.rows = np.load(data)
        seed_everything(int(seed))
        sizes = {"session_max_len": int(length), "batch_size": int(batch_size)}
        self.settings = {**SETTINGS, **sizes}
        self.model = SASRecModel(**self.settings, get_trainer_func=trainer)
        self.dataset = self._before(1)

    def about(self) -> dict[str, Any]:
        """Versions and settings."""
        versions = {name: version(name) for name in ("RecTools", "torch", "pytorch-lightning", "numpy")}
        return {"versions": versions, "settings": self.settings, "threads": torch.get_num_threads()}

    def train(self, seconds: float) -> dict[str, Any]:
        """One epoch; it isn't stopped in between."""
        self.model.fit_partial(self.dataset, min_epochs=1, max_epochs=1)
        return {"seconds": Clock.seconds, "finished": True}

    def lists(self, part: str, path: str) -> dict[str, Any]:
        """Write the ten best items of each query, (Q, 11) int64 with the user first; what was seen is left out."""
        code = {"validation": 1, "test": 2}[part]
        users = np.unique(self.rows[self.rows[:, 3] == code, 0])
        found = self.model.recommend(users, self._before(code), k=10, filter_viewed=True)
        lists = np.full((self.rows[:, 0].max() + 1, 11), -1)
        lists[:, 0] = np.arange(len(lists))
        lists[found[Columns.User], found[Columns.Rank]] = found[Columns.Item]
        np.save(path, lists[users])
        return {}

    def _before(self, code: int) -> Any:
        user, item, place = self.rows[self.rows[:, 3] < code, :3].T
        time_of = pd.Timestamp("2000-01-01") + pd.to_timedelta(place, unit="s")
        columns = {Columns.User: user, Columns.Item: item, Columns.Datetime: time_of, Columns.Weight: 1.0}
        return Dataset.construct(pd.DataFrame(columns))


if __name__ == "__main__":
    serve(Training, sys.argv[1:])
