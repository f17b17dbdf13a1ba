"""What a stage of a run is to whoever runs it, and what all of them share."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from distilrec.data import DataConfig, Features, Interactions, Prepared, Snapshot, load
from distilrec.errors import DataError
from distilrec.models import (
    Catalogue,
    Model,
    Outgrown,
    load_model,
)
from distilrec.pipeline.earlier import Earlier
from distilrec.pipeline.stages import Stage, Store

__all__ = ["Context", "Task", "fingerprint_of"]


@dataclass(frozen=True)
class Context:
    """What tasks share: the run's folder, the data, and the folder of the run that this one goes on from.

    fingerprint: of the interactions, where another process has loaded them.
    """

    store: Store
    data: DataConfig
    since: Path | None = None
    fingerprint: str | None = None

    @cached_property
    def prepared(self) -> Prepared:
        """The data, loaded once per process; DataError where the interactions aren't those that the run began with."""
        loaded = load(self.data, None if self.since is None else Snapshot.open(Earlier(self.since).path("data")))
        if self.fingerprint is not None and fingerprint_of(loaded) != self.fingerprint:
            raise DataError(
                f"{self.data.source} changed while the run was under way; run it again, best on a copy of what is "
                "still being written to"
            )
        return loaded

    def for_others(self) -> Context:
        """Without the data, for processes that load them by themselves: the same ones, if they are loaded here."""
        loaded = self.__dict__.get("prepared")
        return replace(self, fingerprint=None if loaded is None else fingerprint_of(loaded))

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


def fingerprint_of(prepared: Prepared) -> str:
    """16 hex digits, of the data and of how they are split."""
    digest = hashlib.sha256(prepared.dataset.fingerprint.encode())
    digest.update(prepared.split.part.tobytes())
    if prepared.split.after:
        digest.update(f"{prepared.split.after} {prepared.split.targets}".encode())
    if prepared.negatives_split is not None:
        digest.update(prepared.negatives_split.part.tobytes())
    if prepared.earlier is not None:
        digest.update(prepared.earlier.tobytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Task(ABC):
    """A stage, and how it is run. on_progress: called with (done, of how many, what is to be shown)."""

    stage: Stage

    @abstractmethod
    def execute(self, context: Context, on_progress: Callable[[int, int, str], None]) -> Mapping[str, Any]:
        """Do the work, leave files in the stage's folder, and return what is worth knowing, as plain JSON."""

    def check(self, context: Context) -> None:  # noqa: B027 - most keys tell all
        """Raise ArtefactError where what the finished stage left no longer fits what its key can't tell of."""
