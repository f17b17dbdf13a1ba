"""A perfect teacher of clusters, few data to learn from, and stores recorded from the teacher."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distilrec.data import LeaveLastOut, Split, UserBatches, clusters, final_queries, prefix_queries, split
from distilrec.distillation.method import Step
from distilrec.models import DotProductModel, HistoryEncoderConfig, MatrixFactorizationConfig, build
from distilrec.soft_labels import RecordConfig, SoftLabels, record
from distilrec.testing import ClusterTeacher

N_CLUSTERS = 4


@pytest.fixture(scope="session")
def data() -> Split:
    """Sixteen users with three training items each."""
    log = clusters(n_users=16, n_items=40, n_clusters=N_CLUSTERS, length=5)
    return split(log.interactions, LeaveLastOut())


@pytest.fixture
def student(data: Split) -> Callable[..., DotProductModel]:
    """Makes untrained students, all with the same first weights."""

    def make(reads_histories: bool = False, **settings: Any) -> DotProductModel:
        kind = HistoryEncoderConfig if reads_histories else MatrixFactorizationConfig
        if reads_histories:
            settings = {"heads": 2, "history_length": 4, **settings}
        model = build(kind(**{"embedding_size": 8, **settings}), data.train.n_users, data.train.n_items, seed=0)
        assert isinstance(model, DotProductModel)
        return model

    return make


@pytest.fixture
def labels(data: Split, tmp_path: Path) -> Callable[..., SoftLabels]:
    """Records the oracle on the training queries."""

    def make(reads_histories: bool = False, queries: Any = None, left_out: Any = None, **settings: Any) -> SoftLabels:
        if queries is None:
            queries = prefix_queries(data.train, 4) if reads_histories else final_queries(data.train)
        return record(
            ClusterTeacher(data.log.n_items, N_CLUSTERS),
            *queries,
            tmp_path / f"labels-{len(list(tmp_path.iterdir()))}",
            RecordConfig(**{"k": 12, "tail": 20, **settings}),
            seed=0,
            data_fingerprint="data",
            teacher_fingerprint="oracle",
            left_out=left_out,
        )

    return make


@pytest.fixture
def weights() -> Callable[[DotProductModel], dict[str, bytes]]:
    """The bytes of a model."""
    return lambda model: {name: np.asarray(value).tobytes() for name, value in model.state_dict().items()}


@pytest.fixture
def make_step(
    data: Split, student: Callable[..., DotProductModel], labels: Callable[..., SoftLabels]
) -> Callable[..., Step]:
    """Makes steps of all users, of a student with scores that spread; the store is given, or recorded."""

    def make(store: SoftLabels | None = None, *, model: DotProductModel | None = None, **settings: Any) -> Step:
        model, store = model or scattered(student()), store or labels(**settings)
        rng = np.random.default_rng(0)
        batch = next(UserBatches(data.train, 100).epoch(rng))
        rows = store.rows(batch.query_ids)
        soft, ones = store.batch(rows), torch.ones(len(rows))
        return Step(model, store, batch, model.encode(batch), rows, soft, ones, 1, rng)

    return make


def scattered(model: DotProductModel) -> DotProductModel:
    """The model with weights of size 1."""
    with torch.no_grad():
        for weights in model.parameters():
            weights.copy_(torch.randn(weights.shape, generator=torch.Generator().manual_seed(1)))
    return model
