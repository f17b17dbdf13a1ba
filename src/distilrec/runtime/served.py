"""A bundle's folder as it serves: the student, ids, titles, and what users took."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from distilrec.errors import ArtefactError, DataError
from distilrec.runtime.folders import replacing
from distilrec.runtime.ids import Ids
from distilrec.runtime.manifest import (
    CARD,
    CONTENT,
    EXPORTS,
    MANIFEST,
    Manifest,
    check_files,
    read_manifest,
    write_manifest,
)
from distilrec.runtime.student import WEIGHTS, Student
from distilrec.runtime.text import SETTINGS, TextReader
from distilrec.scoring import Queries, Ragged

__all__ = ["HELD_OUT", "HISTORIES", "IDS", "MODEL", "Attributes", "HeldOut", "Served", "write_ids"]

IDS, HISTORIES, HELD_OUT = "ids.json", "histories.safetensors", "held_out.safetensors"
MODEL = "model.json"
ADDED = (WEIGHTS, MODEL, IDS, HELD_OUT)  # files that change where items are added
K = 10  # best items that held-out queries are answered by
Arrays: TypeAlias = Mapping[str, NDArray[Any]]
Attributes: TypeAlias = Mapping[str, Sequence[Sequence[str]]]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Queries that were held out of training.

    targets: what was to be found. expected: the ten best items that the student in PyTorch gave for each.
    """

    queries: Queries
    targets: Ragged
    expected: Ragged


@dataclass(frozen=True, eq=False)
class Served:
    """What a bundle needs to answer: NumPy and ONNX Runtime, no tables, no torch.

    items, titles: in the student's order. attributes: by name, the values of each item. users, histories: who is known,
    and the places of the items that they took, oldest first. folder: where it was read from.
    """

    student: Student
    items: Ids
    titles: Sequence[str]
    users: Ids
    histories: Ragged
    manifest: Manifest
    folder: Path
    attributes: Attributes = field(default_factory=dict)
    reader: tuple[str, TextReader] | None = None
    """The modality that texts are, and what reads them; None where it can't be searched in words."""

    @classmethod
    def load(cls, folder: Path) -> Served:
        """Read a bundle; raises ArtefactError, naming the file, on a damaged one, and on a folder that is none."""
        if not (folder / MANIFEST).is_file():
            raise ArtefactError(f"{folder} is no bundle, it has no {MANIFEST}{_where(folder)}")
        manifest = read_manifest(folder, (WEIGHTS, MODEL, IDS, HISTORIES, HELD_OUT))
        told = manifest.student
        student = Student.load(folder, told.history_length or 0, told.content)
        if student.vectors.shape != (manifest.items, told.width):
            raise ArtefactError(
                f"{folder / WEIGHTS} has {student.vectors.shape} item vectors, where the bundle tells of "
                f"{manifest.items} items and width {told.width}; export it again"
            )
        items, titles, users, attributes = _ids(folder / IDS, manifest)
        histories = _rows(folder / HISTORIES, _arrays(folder / HISTORIES), "histories", manifest.users, manifest.items)
        if student.users is not None and len(student.users) != manifest.users:
            raise ArtefactError(
                f"{folder / WEIGHTS} has {len(student.users)} users, not {manifest.users}; export it again"
            )
        found = (name for name in manifest.content if f"{CONTENT}/{name}/{SETTINGS}" in manifest.files)
        reader = next(((name, TextReader(folder / CONTENT / name)) for name in found), None)
        return cls(student, items, titles, users, histories, manifest, folder, attributes, reader)

    def read(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, D): what was searched for, as the vectors of items of which nothing but the text is known.

        Raises DataError where the student doesn't know items by text.
        """
        if self.reader is None:
            raise DataError("this student can't be searched in words; distil one whose model names a content of text")
        name, reader = self.reader
        return self.student.placed({name: reader.encode(texts)}, len(texts))[:, : self.manifest.student.width]

    def held_out(self) -> HeldOut:
        """What an export, or a server, is asked before it answers anyone; raises ArtefactError on a damaged file."""
        path = self.folder / HELD_OUT
        arrays = _arrays(path)
        users = arrays.get("users", np.empty(0, np.int32))
        if users.ndim != 1 or users.dtype != np.int32 or (len(users) and int(users.max()) >= self.manifest.users):
            raise ArtefactError(f"{path} tells of users that there aren't; export the bundle again")
        queries, targets, expected = (
            _rows(path, arrays, name, len(users), self.manifest.items) for name in ("histories", "targets", "expected")
        )
        return HeldOut(Queries(users, queries), targets, expected)

    def extended(
        self,
        features: Mapping[str, NDArray[np.floating[Any]]],
        ids: Sequence[Any],
        titles: Sequence[str],
        attributes: Attributes,
    ) -> Served:
        """With new items, placed by vectors of their content as `Student.placed` takes them; no training.

        attributes: by name the values of each new item; it has none of those that aren't named.
        """
        student = self.student.extended(features, len(ids))
        none: list[list[str]] = [[] for _ in ids]
        wider = {name: [*values, *attributes.get(name, none)] for name, values in self.attributes.items()}
        return replace(
            self,
            student=student,
            items=self.items.extended(ids),
            titles=[*self.titles, *titles],
            attributes=wider,
        )

    def save(self, folder: Path) -> None:
        """Write the bundle, with the items that were added, into a folder, whole or not at all."""
        there = read_manifest(self.folder, ADDED)
        if _but_added(there) != _but_added(self.manifest):
            raise ArtefactError(f"another bundle lies in {self.folder} by now; load it, and add the items again")
        with replacing(folder, MANIFEST) as new:
            for name in there.files:
                (new / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.folder / name, new / name)
            check_files(new, there)
            for name in (CARD, EXPORTS):
                if (self.folder / name).is_file():
                    shutil.copyfile(self.folder / name, new / name)
            if len(self.items) > self.manifest.items or there != self.manifest:
                self._write_added(new)
            write_manifest(self.manifest.model_copy(update={"items": len(self.items)}), new)

    def _write_added(self, folder: Path) -> None:
        """Ids and vectors of all items, their numbers whole: those of new ones were never coded.

        What held-out queries are answered changes with them, so that it is what a server or an export should answer.
        """
        write_ids(folder, self.items.values, self.titles, self.users.values, self.attributes)
        state = {
            name: array
            for name, array in load_file(folder / WEIGHTS).items()
            if name.partition(":")[0] not in ("items", "bias")
        }
        state["items"] = self.student.vectors
        if self.student.bias is not None:
            state["bias"] = self.student.bias
        save_file(state, folder / WEIGHTS)
        held_out = load_file(folder / HELD_OUT)
        if "users" in held_out:
            users = held_out["users"]
            histories = _rows(folder / HELD_OUT, held_out, "histories", len(users), len(self.items))
            found, _ = self.student.rank(Queries(users, histories), K)
            held_out |= {"expected": found[found >= 0], "expected_lengths": (found >= 0).sum(1)}
            save_file(held_out, folder / HELD_OUT)
        settings = json.loads((folder / MODEL).read_text(encoding="utf-8"))
        settings["n_items"] = len(self.items)
        (folder / MODEL).write_text(json.dumps(settings, indent=2), encoding="utf-8")


def _but_added(manifest: Manifest) -> Manifest:
    """What items that are added don't change."""
    files = {name: told for name, told in manifest.files.items() if name not in ADDED}
    return manifest.model_copy(update={"items": 0, "files": files})


def write_ids(
    folder: Path, items: Sequence[Any], titles: Sequence[str], users: Sequence[Any], attributes: Attributes
) -> None:
    """Write ids.json."""
    content = {"items": list(items), "titles": list(titles), "users": list(users), "attributes": attributes}
    (folder / IDS).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def _ids(path: Path, manifest: Manifest) -> tuple[Ids, list[str], Ids, Attributes]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        found = [told[name] for name in ("items", "titles", "users")]
        sizes = [manifest.items, manifest.items, manifest.users]
        if not all(isinstance(each, list) for each in found) or [len(each) for each in found] != sizes:
            raise ValueError(f"expected {sizes} items, titles and users")
        if any({type(value) for value in each} - {str, int} for each in found) or not all(map(_is_text, found[1])):
            raise ValueError("ids are whole numbers or texts, titles texts")
        for value in (*found[0], *found[1], *found[2]):
            str(value).encode()  # halves of characters can't be told to anyone
        attributes = TypeAdapter(dict[str, list[list[str]]]).validate_python(told["attributes"], strict=True)
        if any(len(values) != manifest.items for values in attributes.values()):
            raise ValueError(f"expected attributes of {manifest.items} items")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtefactError(f"{path} can't be read: {error}; export the bundle again") from error
    items, titles, users = found
    return Ids(items), titles, Ids(users), attributes


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _arrays(path: Path) -> Arrays:
    try:
        return load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise ArtefactError(f"{path} can't be read: {error}; export the bundle again") from error


def _rows(path: Path, arrays: Arrays, name: str, n_rows: int, n_items: int) -> Ragged:
    """Lists of items: `NAME` their places, one list after the other, and `NAME_lengths`."""
    values, lengths = arrays.get(name), arrays.get(f"{name}_lengths")
    whole = values is not None and lengths is not None and values.ndim == lengths.ndim == 1
    if (
        not whole
        or values is None
        or lengths is None
        or values.dtype != np.int32
        or lengths.dtype != np.int64
        or len(lengths) != n_rows
        or (lengths < 0).any()
        or lengths.sum() != len(values)
        or (len(values) and not 0 <= int(values.min()) <= int(values.max()) < n_items)
    ):
        raise ArtefactError(f"{path}: {name} aren't {n_rows} lists of items that there are; export the bundle again")
    return Ragged.from_lengths(lengths, values)


def _where(path: Path) -> str:
    """What to do where a bundle was expected and the folder is none."""
    if (path / "bundle" / MANIFEST).is_file():
        return f"; that of this run lies in {path / 'bundle'}"
    return "; a run that is finished has one in its folder, OUT/bundle"
