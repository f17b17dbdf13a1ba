"""Items that a recording left out altogether, such as those held out as cold: no method teaches anything of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from distilrec.data import final_queries
from distilrec.distillation.method import Setting
from distilrec.distillation.methods import CD, FTD, HTD, RCEKD, RD, ExpectedRecall
from distilrec.soft_labels import RecordConfig, record


@pytest.mark.parametrize(
    "method",
    [
        ExpectedRecall(k=5, pool=20),
        RCEKD(),
        CD(),
        RD(items=5, warmup=0),
        FTD(others=4),
        HTD(),
    ],
    ids=lambda method: method.name,
)
def test_nothing_is_learned_of_them(method, data, teacher, student, step, tmp_path):
    """Prevents items that nobody could take from being negatives, or from being learned from the teacher after all."""
    left_out = np.arange(data.train.n_items) % 4 == 1
    labels = record(
        teacher,
        *final_queries(data.train),
        tmp_path / "labels",
        RecordConfig(kind="factored", k=12, tail=15, dtype="float32"),
        seed=0,
        data_fingerprint="data",
        teacher_fingerprint="random",
        left_out=left_out,
    )
    model = student()
    term = method.term(Setting(model, data.train, labels, 0))
    for seed in range(3):
        given = step(model, labels, seed=seed)
        given.epoch = 5
        users = np.flatnonzero(~left_out[data.train.histories.values[data.train.histories.starts]])
        sought = data.train.histories.values[data.train.histories.starts[users]].astype(np.int64)
        given.batch = dataclasses.replace(
            given.batch, rows=users, items=sought, weights=np.ones(len(users), np.float32)
        )
        term(given).backward()
    gradients = [weight.grad for weight in (model.items, model.bias) if weight is not None and weight.grad is not None]
    assert gradients
    for gradient in gradients:
        assert gradient[~left_out].abs().sum() > 0
        assert not gradient[left_out].any()
