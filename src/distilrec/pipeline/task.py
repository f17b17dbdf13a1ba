"""What a stage of a run is to whoever runs it, and what all of them share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from distilrec.data import DataConfig, Features, Interactions, Prepared, Snapshot, load
from distilrec.models import (
    Catalogue,
    Model,
    Outgrown,
    load_model,
)
from distilrec.pipeline.earlier import Earlier
from distilrec.pipeline.stages import Stage, Store

__all__ = ["Context", "Task"]


@dataclass(frozen=True)
class Context:
    """What tasks share: the run's folder, the data, and the folder of the run that this one goes on from."""

    store: Store
    data: DataConfig
    since: Path | None = None

    @cached_property
    def prepared(self) -> Prepared:
        """The data, loaded once per process."""
        return load(self.data, None if self.since is None else Snapshot.open(Earlier(self.since).path("data")))

    @property
    def disliked(self) -> Interactions | None:
        """Explicit negative feedback of the training part."""
        negatives = self.prepared.negatives_split
        return None if negatives is None else negatives.train

    def catalogue(self, content: Sequence[tuple[str, Stage]]) -> Catalogue | None:
        """What items can be known by: the vectors that these stages left, by modality; None where there are none."""
        if not content:
            return None
        features = {name: Features.open(self.store.folder(stage)) for name, stage in content}
        return Catalogue(features, self.prepared.split.train.item_counts() > 0)

    def model(self, stage: Stage) -> Model:
        """The model that a finished stage left, asked about all users and items that there are now."""
        model, log = load_model(self.store.folder(stage)), self.prepared.split.log
        if (model.n_users, model.n_items) == (log.n_users, log.n_items):
            return model
        return Outgrown(model, log.n_users, log.n_items)


@dataclass(frozen=True)
class Task(ABC):
    """A stage, and how it is run. on_progress: called with (done, of how many, what is to be shown)."""

    stage: Stage

    @abstractmethod
    def execute(self, context: Context, on_progress: Callable[[int, int, str], None]) -> Mapping[str, Any]:
        """Do the work, leave files in the stage's folder, and return what is worth knowing, as plain JSON."""
