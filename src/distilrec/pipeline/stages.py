"""Stages that are run once: each is a folder named after what it depends on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from distilrec.errors import ArtefactError, DistilRecError
from distilrec.locking import alone

__all__ = ["STAGES", "Stage", "Store", "writing"]

DONE = "stage.json"
STAGES = "stages"


@dataclass(frozen=True)
class Stage:
    """A step of a run. Its key follows from its settings and its parents' keys, so that a changed setting gives a new
    stage, and everything that depends on it, and nothing else.

    name: such as `member-sasrec` or `distilled student-3`. settings: plain JSON.
    """

    name: str
    settings: Mapping[str, Any]
    parents: tuple[Stage, ...] = field(default=())

    @cached_property
    def key(self) -> str:
        """12 hex digits."""
        content = {"name": self.name, "settings": self.settings, "parents": [parent.key for parent in self.parents]}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Store:
    """The stages of a run, on disk."""

    run: Path

    def make(self) -> None:
        """Make the run's folder where it is missing; ArtefactError where it can't be made."""
        try:
            (self.run / STAGES).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArtefactError(
                f"{self.run}: can't be made a run's folder ({error.filename}: {error.strerror}); name another --out"
            ) from error

    def alone(self) -> AbstractContextManager[None]:
        """Keep other processes from running stages here, whatever is done meanwhile; ArtefactError where one does."""
        self.make()
        busy = f"{self.run}: another run is under way there; wait until it has finished, or name another --out"
        return alone(self.run / ".lock", ArtefactError(busy))

    def folder(self, stage: Stage) -> Path:
        """Where the stage's files are; made if missing."""
        path = self.run / STAGES / f"{stage.name.replace(' ', '-')}-{stage.key}"
        path.mkdir(parents=True, exist_ok=True)
        return path

    def done(self, stage: Stage) -> bool:
        """Whether the stage has been finished."""
        return (self._path(stage) / DONE).is_file()

    def finish(self, stage: Stage, result: Mapping[str, Any]) -> None:
        """Mark the stage as done, with what it has to say."""
        content = {
            "name": stage.name,
            "settings": stage.settings,
            "parents": {parent.name: parent.key for parent in stage.parents},
            "result": result,
        }
        path = self.folder(stage) / DONE
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")
        os.replace(partial, path)

    def result(self, stage: Stage) -> dict[str, Any]:
        """What a finished stage said."""
        content = json.loads((self._path(stage) / DONE).read_text(encoding="utf-8"))
        result: dict[str, Any] = content["result"]
        return result

    def why(self, stage: Stage) -> str:
        """Why the stage will run, or that it won't.

        Compares it with the finished stage of the same name whose settings are nearest.
        """
        if self.done(stage):
            return "done"
        if (self._path(stage)).is_dir():
            return "will go on: it was interrupted"
        reasons = [self._difference(stage, old) for old in self._earlier(stage)]
        return f"will run: {min(reasons, key=len)}" if reasons else "will run: it hasn't been run yet"

    def _path(self, stage: Stage) -> Path:
        return self.run / STAGES / f"{stage.name.replace(' ', '-')}-{stage.key}"

    def _earlier(self, stage: Stage) -> list[dict[str, Any]]:
        found = (self.run / STAGES).glob(f"{stage.name.replace(' ', '-')}-*/{DONE}")
        contents = [json.loads(path.read_text(encoding="utf-8")) for path in found]
        return [content for content in contents if content["name"] == stage.name]

    def _difference(self, stage: Stage, old: Mapping[str, Any]) -> str:
        changed = sorted(_changes("", old["settings"], json.loads(json.dumps(stage.settings))))
        parents = [p.name for p in stage.parents if old["parents"].get(p.name) != p.key]
        reasons = [f"{name} changed" for name in changed] + [f"stage {name!r} changed" for name in parents]
        return "; ".join(reasons) or "it depends on other stages than before"


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Raise DistilRecError where a full disk, or a right that is missing, ends what is done meanwhile in the folder."""
    try:
        yield
    except DistilRecError:
        raise
    except (OSError, SafetensorError) as error:
        raise DistilRecError(
            f"{folder}: {error}; see that there is room and that it may be written, then run again: what is finished "
            "is kept"
        ) from error


def _changes(prefix: str, old: Any, new: Any) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        return [change for key in keys for change in _changes(f"{prefix}.{key}", old.get(key), new.get(key))]
    return [] if old == new else [f"{prefix.lstrip('.')} ({old!r} -> {new!r})"]
