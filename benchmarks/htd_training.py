"""Training as the public code of topology distillation does (Kang et al., KDD 2021), for `benchmarks.htd`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distilrec.data import Batch, Interactions, PairBatches, Split
from distilrec.data.split_kinds import Part
from distilrec.distillation.method import Method, Setting, Step, Term
from distilrec.losses import bpr
from distilrec.models import MatrixFactorization, MatrixFactorizationConfig, build, pair_scores
from distilrec.ranking import evaluate
from distilrec.soft_labels import SoftLabels
from distilrec.training import Epoch, TrainingConfig, train

__all__ = ["BATCH", "EPOCHS", "METRIC", "Arm", "Loss", "Negatives", "add_l2", "measure", "quality", "say"]

METRIC = "recall@50"
EPOCHS, EVERY = 101, 10  # theirs count from 0 to 100, and every tenth is evaluated
BATCH, LEARNING_RATE, L2, LAMBDA = 1024, 1e-3, 1e-3, 1e-3


@dataclass(frozen=True)
class Arm:
    """Who is trained. method: with the original's sums, or None."""

    width: int
    method: Method | None = None


class Negatives:
    """Items that a user didn't take in training."""

    def __init__(self, train: Interactions) -> None:
        users, positions = train.flat()
        self.n_items = train.n_items
        self.taken = np.unique(users * self.n_items + train.histories.values[positions])

    def draw(self, users: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """(T,): one for each of users (T,), evenly."""
        items = rng.integers(0, self.n_items, len(users))
        wrong = np.arange(len(users))
        while len(wrong := wrong[self._took(users[wrong], items[wrong])]):
            items[wrong] = rng.integers(0, self.n_items, len(wrong))
        return items

    def _took(self, users: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.bool_]:
        pairs = users * self.n_items + items
        places = np.minimum(np.searchsorted(self.taken, pairs), len(self.taken) - 1)
        return np.asarray(self.taken[places] == pairs)


@dataclass
class Loss:
    """The original's loss of a batch. epoch: of the batch, from 1."""

    modules: nn.ModuleDict
    student: MatrixFactorization
    negatives: Negatives
    labels: SoftLabels | None
    epoch: int = 1

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Mapping[str, Tensor]:
        """The total and its parts."""
        hidden = self.student.encode(batch)
        drawn = self.negatives.draw(batch.users[batch.rows], rng)
        pairs = torch.from_numpy(np.stack([batch.items, drawn], axis=1))
        scores = pair_scores(hidden, self.student.item_vectors(), torch.from_numpy(batch.rows), pairs)
        parts = {"labels": len(pairs) * bpr(scores[:, 0], scores[:, 1])}
        if self.labels is not None:
            rows = self.labels.rows(batch.query_ids)
            seen = replace(batch, items=np.concatenate([batch.items, drawn]))
            soft, ones = self.labels.batch(rows), torch.ones(len(rows))
            step = Step(self.student, self.labels, seen, hidden, rows, soft, ones, self.epoch, rng)
            parts["method"] = LAMBDA * self.modules["method"](step)
        return {**parts, "loss": torch.stack(list(parts.values())).sum()}


def add_l2(modules: nn.Module) -> None:
    """Add L2 times each weight to its gradient, as Adam's weight decay does in torch; AdamW's is another."""
    for weight in modules.parameters():
        weight.register_hook(partial(_decayed, weight))  # type: ignore[no-untyped-call]


def _decayed(weight: Tensor, gradient: Tensor) -> Tensor:
    return gradient.add(weight.detach(), alpha=L2)


@dataclass
class Course:
    """Quality along the training, as theirs is logged: after the first epoch and every tenth from there."""

    epochs: list[int] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    test: list[float] = field(default_factory=list)

    def detail(self) -> dict[str, Any]:
        """What is written of it, with the test quality of the epoch that is best on validation."""
        best = int(np.argmax(self.validation))
        return {
            "epochs": self.epochs,
            f"validation_{METRIC}": self.validation,
            f"test_{METRIC}": self.test,
            "best_on_validation": {"epoch": self.epochs[best], f"test_{METRIC}": self.test[best]},
        }


def quality(model: MatrixFactorization, split: Split, part: Part) -> float:
    """Mean recall@50 over all users; what they took in training, and for the test in validation, is left out."""
    return float(evaluate(model, *split.queries(part), [METRIC])[METRIC].mean())


def measure(
    arm: Arm, name: str, split: Split, labels: SoftLabels | None, seed: int, epochs: int = EPOCHS
) -> tuple[MatrixFactorization, dict[str, Any]]:
    """The arm's model after its last epoch, and all behind its quality."""
    config = MatrixFactorizationConfig(embedding_size=arm.width, item_bias=False, init_std=0.01)
    model = build(config, split.log.n_users, split.log.n_items, seed=seed)
    assert isinstance(model, MatrixFactorization)
    modules = nn.ModuleDict({"student": model})
    if arm.method is not None:
        assert labels is not None
        modules["method"] = _term(arm.method, Setting(model, split.train, labels, seed))
    add_l2(modules)
    loss = Loss(modules, model, Negatives(split.train), labels if arm.method is not None else None)
    course, seconds = Course(), []

    def after(epoch: Epoch) -> None:
        loss.epoch = epoch.number + 1
        seconds.append(round(epoch.seconds, 3))
        reached = ", ".join(f"{part} {value:.5g}" for part, value in epoch.losses.items())
        if (epoch.number - 1) % EVERY == 0 or epoch.number == epochs:
            course.epochs.append(epoch.number)
            course.validation.append(quality(model, split, "validation"))
            course.test.append(quality(model, split, "test"))
            reached += f"; {METRIC} on validation {course.validation[-1]:.4f}, on test {course.test[-1]:.4f}"
        say(f"{name}.{seed} epoch {epoch.number}/{epochs}, {sum(seconds):.0f} s: {reached}")

    training = TrainingConfig(epochs=epochs, evaluate_every=epochs, batch_size=BATCH, learning_rate=LEARNING_RATE)
    train(
        modules,
        batches=PairBatches(split.train, BATCH).epoch,
        loss=loss,
        validate=lambda: quality(model, split, "validation"),  # once, after the last epoch, which is thereby kept
        config=training,
        seed=seed,
        on_epoch=after,
    )
    return model, {
        "model": config.model_dump(mode="json"),
        "method": None if arm.method is None else arm.method.model_dump(mode="json"),
        "training": {"epochs": epochs, "batch_size": BATCH, "learning_rate": LEARNING_RATE, "l2": L2, "lambda": LAMBDA},
        "threads": torch.get_num_threads(),
        "seconds": seconds,
        **course.detail(),
    }


def _term(method: Method, setting: Setting) -> Term:
    method.check(setting)
    term = method.term(setting)
    assert term is not None
    return term


def say(line: str) -> None:
    """Progress goes to stderr."""
    print(line, file=sys.stderr, flush=True)
