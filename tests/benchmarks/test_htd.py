"""A reproduction must train as the original does, and must not choose on what it reports."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import htd, htd_training
from benchmarks.harness import figures_of, write_result
from distilrec.data import LeaveLastOut, PairBatches, Split, clusters, split
from distilrec.distillation.methods import HTD
from distilrec.models import MatrixFactorization, MatrixFactorizationConfig
from distilrec.training import TrainingConfig, train


@pytest.fixture(scope="module")
def data() -> Split:
    return split(clusters(n_users=30, n_items=24, n_clusters=2).interactions, LeaveLastOut())


def test_negatives_are_what_a_user_did_not_take(data: Split) -> None:
    users = np.repeat(np.arange(30), 400)
    drawn = htd_training.Negatives(data.train).draw(users, np.random.default_rng(0))
    for user in range(30):
        taken = set(data.train.histories[user : user + 1].flat()[1].tolist())
        assert set(drawn[users == user].tolist()) == set(range(24)) - taken


def test_it_trains_as_torch_adam_with_weight_decay_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """The decay of AdamW isn't in the gradients, and shrinks rare items otherwise than theirs."""
    monkeypatch.setattr(htd_training, "L2", 0.3)
    ours, theirs = (nn.Linear(3, 2) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    inputs = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    adam = torch.optim.Adam(theirs.parameters(), lr=0.01, weight_decay=0.3)
    for _ in range(5):
        adam.zero_grad()
        theirs(inputs).square().sum().backward()
        adam.step()
    htd_training.add_l2(ours)
    train(
        ours,
        batches=lambda rng: [inputs] * 5,
        loss=lambda batch, rng: {"loss": ours(batch).square().sum()},
        validate=lambda: 0.0,
        config=TrainingConfig(epochs=1, learning_rate=0.01),
        seed=0,
    )
    torch.testing.assert_close(ours.weight, theirs.weight)
    torch.testing.assert_close(ours.bias, theirs.bias)


def test_the_loss_is_the_sum_of_theirs(data: Split) -> None:
    """-sum log sigmoid(positive - negative), here from the vectors themselves."""
    model = MatrixFactorization(MatrixFactorizationConfig(embedding_size=4, item_bias=False), 30, 24)
    negatives = htd_training.Negatives(data.train)
    (batch,) = PairBatches(data.train, 1024).epoch(np.random.default_rng(0))
    loss = htd_training.Loss(nn.ModuleDict({"student": model}), model, negatives, None)
    given = loss(batch, np.random.default_rng(5))["loss"]
    users = batch.users[batch.rows]
    drawn = negatives.draw(users, np.random.default_rng(5))
    margins = (model.users[users] * (model.items[batch.items] - model.items[drawn])).sum(1)
    torch.testing.assert_close(given, -margins.sigmoid().log().sum())


def test_the_last_epoch_counts(data: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    """Theirs chooses no epoch, and the test part may choose none."""
    monkeypatch.setattr(htd_training, "LEARNING_RATE", 0.05)
    model, detail = htd_training.measure(htd_training.Arm(4), "bpr", data, None, seed=0, epochs=22)
    assert detail["epochs"] == [1, 11, 21, 22]
    assert detail["test_recall@50"][-1] == htd_training.quality(model, data, "test")


def test_a_run_goes_on_and_sums_up(data: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell takes up to half an hour: measured twice, or lost with the run, it would cost that again."""
    measured: list[str] = []
    real = htd.measure

    def note(*arguments: Any) -> Any:
        measured.append(f"{arguments[1]}.{arguments[4]}")
        return real(*arguments)

    small = {name: replace(arm, width=4) for name, arm in htd.ARMS.items()}
    small["htd"] = replace(small["htd"], method=HTD(reduction="sum", groups=3))
    monkeypatch.setattr(htd, "ARMS", small)
    monkeypatch.setattr(htd, "SEEDS", 2)
    monkeypatch.setattr(htd, "EPOCHS", 1)  # of shorter runs the figures stay out of CiteULike's
    monkeypatch.setattr(htd, "measure", note)
    monkeypatch.setattr(htd, "read", lambda: data)
    options = ["--out", str(tmp_path), "--teachers", str(tmp_path / "teachers"), "--epochs", "1", "--threads", "1"]
    htd.main([*options, "--arms", "htd", "--seeds", "1"])
    assert measured == ["teacher.1", "htd.1"]
    assert not (tmp_path / "htd.json").exists()
    write_result("methods_citeulike", "c", {"recall@50_width20": 0.5}, {}, folder=tmp_path)
    htd.main([*options, "--seeds", "0", "1"])
    assert sorted(measured) == sorted(f"{arm}.{seed}" for arm in htd.ARMS for seed in (0, 1))
    result = json.loads((tmp_path / "htd.json").read_text(encoding="utf-8"))
    cells = [result["detail"][f"htd.{seed}"]["figures"]["test_recall@50"] for seed in (0, 1)]
    assert result["figures"]["htd_reproduced_recall@50_width20"] == pytest.approx(np.mean(cells))
    assert set(result["figures"]) == {
        "bpr_reproduced_recall@50_width20",
        "ftd_reproduced_recall@50_width20",
        "htd_reproduced_recall@50_width20",
        "teacher_reproduced_recall@50_width200",
    }
    assert figures_of("methods_citeulike", tmp_path) == {"recall@50_width20": 0.5, **result["figures"]}
