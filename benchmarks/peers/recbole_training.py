"""RecBole's BPR and SASRec, an epoch at a time: `python -m benchmarks.peers.recbole_training DATA MODEL SEED`.

DATA: (M, 4) int32 .npy of user, item, place in the user's history and part (0 train, 1 validation, 2 test), where the
validation and test items of a user are the last two. Settings are RecBole's own defaults but for those below.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed

from benchmarks.peers.channel import serve

SETTINGS: dict[str, Any] = {
    "field_separator": "\t",
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "eval_args": {"split": {"LS": "valid_and_test"}, "group_by": "user", "order": "TO", "mode": "full"},
    "metrics": ["NDCG"],
    "topk": [10],
    "valid_metric": "NDCG@10",
    "metric_decimal_place": 9,
    "use_gpu": False,
    "show_progress": False,
    "state": "ERROR",
}
# The 4096 of RecBole's default counts scores for BPR (two users of ml-100k) and users for SASRec.
USERS_PER_BATCH = 512
MODELS: dict[str, dict[str, Any]] = {
    "BPR": {"embedding_size": 64},
    "SASRec": {"MAX_ITEM_LIST_LENGTH": 50, "train_neg_sample_args": None},
}


class OutOfTimeError(Exception):
    """The epoch has to stop where it is."""


class Training:
    """RecBole's trainer, driven from outside."""

    def __init__(self, data: str, model: str, seed: str) -> None:
        rows = np.load(data)
        self.folder = tempfile.TemporaryDirectory()
        os.chdir(self.folder.name)  # RecBole leaves logs where it runs
        n_items = int(rows[:, 1].max()) + 1
        batch = USERS_PER_BATCH if model == "SASRec" else USERS_PER_BATCH * (n_items + 1)
        settings = {**SETTINGS, **MODELS[model], "seed": int(seed), "eval_batch_size": batch}
        with tempfile.TemporaryDirectory() as folder:
            _write_atomic_file(Path(folder) / "log" / "log.inter", rows)
            arguments, sys.argv = sys.argv, sys.argv[:1]  # which RecBole would read
            config = Config(model=model, dataset="log", config_dict={**settings, "data_path": folder})
            sys.argv = arguments
            init_seed(config["seed"], config["reproducibility"])
            self.dataset = create_dataset(config)
            loaders = data_preparation(config, self.dataset)
            self.train_data, self.parts = loaders[0], dict(zip(("validation", "test"), loaders[1:], strict=True))
            self.model = get_model(model)(config, self.train_data.dataset)
            config["checkpoint_dir"] = folder
            self.trainer = get_trainer(config["MODEL_TYPE"], model)(config, self.model)
        self.users = self.dataset.field2id_token["user_id"][1:].astype(np.int64)
        self.items = np.append(-1, self.dataset.field2id_token["item_id"][1:].astype(np.int64))
        self.rows = rows
        self.epoch = 0
        self._check_parts()

    def about(self) -> dict[str, Any]:
        """Versions and settings."""
        config = self.trainer.config
        names = ("learning_rate", "train_batch_size", "learner", "weight_decay", *MODELS[config["model"]])
        shown = {name: config[name] for name in names}
        if config["model"] == "SASRec":
            more = ("hidden_size", "n_layers", "n_heads", "inner_size", "hidden_dropout_prob", "loss_type")
            shown |= {name: config[name] for name in more}
        versions = {name: version(name) for name in ("recbole", "torch", "numpy")}
        return {"versions": versions, "settings": json.loads(json.dumps(shown, default=str))}

    def train(self, seconds: float) -> dict[str, Any]:
        """One epoch, or as much of it as fits in `seconds`."""
        begin = time.perf_counter()

        def loss(interaction: Any) -> Any:
            if time.perf_counter() - begin > seconds:
                raise OutOfTimeError
            return self.model.calculate_loss(interaction)

        try:
            self.trainer._train_epoch(self.train_data, self.epoch, loss_func=loss)
        except OutOfTimeError:
            finished = False
        else:
            finished = True
            self.epoch += 1
        return {"seconds": time.perf_counter() - begin, "finished": finished}

    def validate(self) -> dict[str, Any]:
        """RecBole's own validation: how long it takes, and its NDCG@10."""
        begin = time.perf_counter()
        quality, _ = self.trainer._valid_epoch(self.parts["validation"])
        return {"seconds": time.perf_counter() - begin, "own": quality}

    @torch.no_grad()
    def lists(self, part: str, path: str) -> dict[str, Any]:
        """Write the ten best items of each query, (Q, 11) int64 with the user first; what was seen is masked."""
        self.model.eval()
        lists = []
        for interaction, *_ in self.parts[part]:
            users = interaction["user_id"].numpy()
            scores = self.model.full_sort_predict(interaction).view(len(users), -1)
            scores[:, 0] = -torch.inf
            scores[self._seen(users, part)] = -torch.inf
            best = self.items[scores.topk(10).indices.numpy()]
            lists.append(np.column_stack([self.users[users - 1], best]))
        np.save(path, np.concatenate(lists))
        return {}

    def _seen(self, users: Any, part: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Row and RecBole's own number of each item that was seen before the part."""
        place = np.full(self.rows[:, 0].max() + 1, -1)
        place[self.users[users - 1]] = np.arange(len(users))
        seen = self.rows[self.rows[:, 3] < (1 if part == "validation" else 2)]
        rows = place[seen[:, 0]]
        own = np.zeros(self.items.max() + 1, np.int64)
        own[self.items[1:]] = np.arange(1, len(self.items))
        return torch.from_numpy(rows[rows >= 0]), torch.from_numpy(own[seen[rows >= 0, 1]])

    def _check_parts(self) -> None:
        """RecBole's split must be the one that was handed over."""
        for code, part in enumerate(("validation", "test"), start=1):
            features = self.parts[part].dataset.inter_feat
            users = self.users[features["user_id"].numpy() - 1]
            found = set(zip(users, self.items[features["item_id"].numpy()], strict=True))
            given = self.rows[self.rows[:, 3] == code]
            if found != set(zip(given[:, 0], given[:, 1], strict=True)):
                raise ValueError(f"RecBole's {part} part differs from the one that was handed over")


def _write_atomic_file(path: Path, rows: Any) -> None:
    path.parent.mkdir()
    header = "user_id:token\titem_id:token\ttimestamp:float"
    np.savetxt(path, rows[:, :3], fmt="%d", delimiter="\t", header=header, comments="")


if __name__ == "__main__":
    serve(Training, sys.argv[1:])
