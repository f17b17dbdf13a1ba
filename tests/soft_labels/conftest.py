"""Small teachers, what to ask them, and stores recorded from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from distilrec.scoring import Queries, Ragged
from distilrec.soft_labels import RecordConfig, SoftLabels, record

N_USERS, N_ITEMS, WIDTH = 50, 30, 4


class Table:
    """Scores of each user, looked up."""

    scores_are_logits = True

    def __init__(self, scores: Tensor) -> None:
        self.scores = scores

    @property
    def n_items(self) -> int:
        return self.scores.shape[1]

    def score(self, queries: Queries) -> Tensor:
        return self.scores[torch.from_numpy(queries.users).long()]


class Factors(Table):
    """A dot product with a bias."""

    width = WIDTH

    def __init__(self, users: Tensor, items: Tensor, bias: Tensor) -> None:
        super().__init__(users @ items.T + bias)
        self.users, self.items, self.bias = users, items, bias

    def hidden(self, queries: Queries) -> Tensor:
        return self.users[torch.from_numpy(queries.users).long()]

    def item_vectors(self) -> Tensor:
        return self.items

    def item_bias(self) -> Tensor | None:
        return self.bias


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def table() -> Callable[[Tensor], Table]:
    """Makes a teacher of given scores."""
    return Table


@pytest.fixture
def teacher() -> Table:
    return Table(normal(N_USERS, N_ITEMS, seed=0) * 3)


@pytest.fixture
def factored() -> Factors:
    return Factors(normal(N_USERS, WIDTH, seed=0), normal(N_ITEMS, WIDTH, seed=1), normal(N_ITEMS, seed=2))


@pytest.fixture
def queries() -> Queries:
    """One per user, with 0 to 4 seen items."""
    rng = np.random.default_rng(0)
    rows = [rng.choice(N_ITEMS, n, replace=False).tolist() for n in rng.integers(0, 5, N_USERS)]
    return Queries(np.arange(N_USERS, dtype=np.int32), Ragged.from_rows(rows))


@pytest.fixture
def ids() -> NDArray[np.int64]:
    """Query ids with gaps and in no order."""
    return np.random.default_rng(1).permutation(N_USERS) * 3 + 7


@pytest.fixture
def seen(queries: Queries) -> Tensor:
    """(users, items) bool."""
    mask = torch.zeros(N_USERS, N_ITEMS, dtype=torch.bool)
    rows, items = queries.histories.flat()
    mask[torch.from_numpy(rows), torch.from_numpy(items).long()] = True
    return mask


@pytest.fixture
def recorded(teacher: Table, queries: Queries, ids: NDArray[np.int64], tmp_path: Path) -> Callable[..., SoftLabels]:
    """Records a teacher with some settings, in shards of 16."""

    def make(who: Any = teacher, *, asked: Queries = queries, name: str = "store", **settings: Any) -> SoftLabels:
        options = {
            key: settings.pop(key)
            for key in ("validation", "held_out", "left_out", "since", "progress")
            if key in settings
        }
        config = RecordConfig(**{"k": 5, "tail": 6, "shard_rows": 16, **settings})
        return record(
            who,
            asked,
            ids[: len(asked)],
            tmp_path / name,
            config,
            seed=3,
            data_fingerprint="data",
            teacher_fingerprint="teacher",
            **options,
        )

    return make
