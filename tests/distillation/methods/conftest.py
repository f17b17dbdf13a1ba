"""A teacher without ties, its stores, and single training steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distilrec.data import Batch, Split, final_queries
from distilrec.distillation.method import Step
from distilrec.models import DotProductModel, MatrixFactorization, MatrixFactorizationConfig
from distilrec.soft_labels import RecordConfig, SoftLabels, record


@pytest.fixture
def teacher(data: Split) -> MatrixFactorization:
    """Random vectors."""
    config = MatrixFactorizationConfig(embedding_size=5, init_std=1.0)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = MatrixFactorization(config, data.train.n_users, data.train.n_items)
    model.bias.data.copy_(torch.linspace(-1, 1, data.train.n_items))
    return model.eval().requires_grad_(False)


@pytest.fixture
def store(data: Split, teacher: MatrixFactorization, tmp_path: Path) -> Callable[..., SoftLabels]:
    """Records the teacher on all users, or on the queries given."""

    def make(queries: Any = None, **settings: Any) -> SoftLabels:
        return record(
            teacher,
            *(final_queries(data.train) if queries is None else queries),
            tmp_path / f"store-{len(list(tmp_path.iterdir()))}",
            RecordConfig(**{"kind": "factored", "k": 12, "tail": 20, "dtype": "float32", **settings}),
            seed=0,
            data_fingerprint="data",
            teacher_fingerprint="random",
        )

    return make


@pytest.fixture
def step(data: Split) -> Callable[..., Step]:
    """A step of all users, or of those given, whose students look them up."""

    def make(student: DotProductModel, labels: SoftLabels, users: Any = None, seed: int = 0) -> Step:
        users = np.arange(data.train.n_users) if users is None else np.asarray(users)
        none, ids = np.empty(0, np.int64), len(data.train.histories.values) + users
        places = np.arange(len(users))
        unweighed = np.empty(0, np.float32)
        batch = Batch(users, None, places, ids, none, none, unweighed, none, none, unweighed)
        rows = labels.rows(ids)
        rng = np.random.default_rng(seed)
        soft, ones = labels.batch(rows), torch.ones(len(rows))
        return Step(student, labels, batch, student.encode(batch), rows, soft, ones, 1, rng)

    return make
