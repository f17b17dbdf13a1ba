"""One peer and us on the same interactions: who trains how long, and how good it is.

All qualities are NDCG@10 over the full catalogue without what was seen; a peer hands over its top ten.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers import Peer
from distilrec.data import Split
from distilrec.metrics import Metric
from distilrec.models import DotProductModel, ModelConfig, Supervision, build, fit
from distilrec.ranking import evaluate
from distilrec.training import Epoch, TrainingConfig

__all__ = ["METRIC", "Course", "Ours", "Theirs", "in_turn", "judge", "last_items", "our_course", "quality", "table"]

METRIC = "ndcg@10"

Part = Literal["validation", "test"]


@dataclass(frozen=True)
class Ours:
    """What we train."""

    model: ModelConfig
    supervision: Supervision
    training: TrainingConfig

    def built(self, split: Split, seed: int) -> DotProductModel:
        """The untrained model."""
        model = build(self.model, split.log.n_users, split.log.n_items, seed=seed)
        assert isinstance(model, DotProductModel)
        return model


@dataclass
class Course:
    """One side's training, epoch by epoch.

    seconds: of training and validation. validation: NDCG@10. test: NDCG@10 of the best epoch on validation.
    """

    seconds: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    test: float = 0.0

    @property
    def best(self) -> float:
        """The highest NDCG@10 on validation."""
        return max(self.validation)

    def waited(self) -> int:
        """Epochs since the best one."""
        return len(self.validation) - 1 - int(np.argmax(self.validation)) if self.validation else 0

    def seconds_until(self, quality: float) -> float | None:
        """Seconds to the end of the first epoch with this quality on validation; None if there is none."""
        for epoch, reached in enumerate(self.validation, start=1):
            if reached >= quality:
                return sum(self.seconds[:epoch])
        return None

    def detail(self) -> dict[str, Any]:
        """What is written of it."""
        return {
            "best_epoch": int(np.argmax(self.validation)) + 1,
            f"validation_{METRIC}": self.best,
            f"test_{METRIC}": self.test,
            "seconds_to_best": self.seconds_until(self.best),
            "seconds": [round(value, 4) for value in self.seconds],
            "validation": [round(value, 5) for value in self.validation],
        }


class Theirs:
    """A peer at work: it trains an epoch, validates in its own way, and hands its lists over.

    seconds: of training and validation that it has; an epoch that would pass them is broken off.
    """

    def __init__(self, peer: Peer, split: Split, folder: Path, seconds: float) -> None:
        self.peer, self.split, self.lists = peer, split, folder / "lists.npy"
        self.left = seconds
        self.broken_off = False
        self.course = Course()

    def train(self) -> float:
        """One epoch, and its seconds."""
        trained = self.peer.ask("train", seconds=self.left)
        seconds = float(trained["seconds"])
        self.left -= seconds
        self.broken_off = not trained["finished"]
        return seconds

    def epoch(self) -> float:
        """One epoch, validated and added to the course; returns the seconds of the training alone."""
        training = self.train()
        validation = float(self.peer.ask("validate")["seconds"])
        self.left -= validation
        self.course.seconds.append(training + validation)
        self.course.validation.append(self.quality("validation"))
        if self.course.waited() == 0:
            self.course.test = self.quality("test")
        return training

    def to_the_end(self, epochs: int, patience: int) -> None:
        """Train until `epochs` are done, `patience` of them brought nothing better, or the time is up."""
        course = self.course
        while len(course.seconds) < epochs and course.waited() < patience and not self.broken_off and self.left > 0:
            self.epoch()

    def quality(self, part: Part) -> float:
        """NDCG@10 of the model as it stands."""
        self.peer.ask("lists", part=part, path=str(self.lists))
        return judge(np.load(self.lists), self.split, part)


def our_course(settings: Ours, split: Split, seed: int) -> Course:
    """Our training to its end."""
    course = Course()

    def note(epoch: Epoch) -> None:
        assert epoch.validation is not None
        course.seconds.append(epoch.seconds)
        course.validation.append(epoch.validation)

    model = settings.built(split, seed)
    fit(model, split, settings.supervision, settings.training, seed=seed, on_epoch=note)
    course.test = quality(model, split, "test")
    return course


def in_turn(
    settings: Ours, model: DotProductModel, split: Split, their_epoch: Callable[[], float], rounds: int
) -> dict[str, Any]:
    """Seconds of `rounds` training epochs, ours and theirs in turn, their medians and how these compare.

    One epoch before them warms up; one more comes after, because our last one is validated.
    """
    our_seconds: list[float] = []
    their_seconds: list[float] = []

    def turn(epoch: Epoch) -> None:
        our_seconds.append(epoch.seconds)
        their_seconds.append(their_epoch())

    epochs = rounds + 2
    training = settings.training.model_copy(update={"epochs": epochs, "evaluate_every": epochs})
    fit(model, split, settings.supervision, training, seed=0, on_epoch=turn)
    counted = {"ours": our_seconds[1:-1], "theirs": their_seconds[1:-1]}
    medians = {side: statistics.median(seconds) for side, seconds in counted.items()}
    return {"seconds": counted, "medians": medians, "speedup": medians["theirs"] / medians["ours"]}


def table(split: Split) -> NDArray[np.int32]:
    """The interactions as peers read them: (M, 4) of user, item, place in the history and part."""
    users, positions = split.log.flat()
    histories = split.log.histories
    places = positions - histories.starts[users]
    return np.stack([users, histories.values[positions], places, split.part[positions]], axis=1).astype(np.int32)


def judge(lists: NDArray[np.int64], split: Split, part: Part) -> float:
    """Mean NDCG@10 of lists (Q, 11), the user first, for the queries of a part with one target each.

    Raises ValueError where the users are not those of the part.
    """
    queries, targets = split.queries(part)
    lists = lists[np.argsort(lists[:, 0])]
    if not np.array_equal(lists[:, 0], queries.users):
        raise ValueError(f"The lists are not those of the {len(queries)} users of the {part} part")
    hits = lists[:, 1:] == targets.values[targets.starts][:, None]
    return float(Metric.parse(METRIC)(hits, targets.lengths).mean())


def quality(model: DotProductModel, split: Split, part: Part) -> float:
    """Mean NDCG@10 of one of our models."""
    queries, targets = split.queries(part)
    return float(evaluate(model, queries, targets, [METRIC])[METRIC].mean())


def last_items(whole: Split, n: int) -> Split:
    """The split with no more than the last n training items of each user."""
    users, positions = whole.train.flat()
    part = whole.part.copy()
    part[positions[positions < whole.train.histories.stops[users] - n]] = 3  # unused
    return Split(whole.log, part)
