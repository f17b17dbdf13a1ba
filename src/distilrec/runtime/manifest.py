"""What a bundle's folder holds, and whether that is what was written."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from distilrec.errors import ArtefactError
from distilrec.runtime.text import GRAPH, SETTINGS, TOKENIZER
from distilrec.weights import Precision

__all__ = [
    "CARD",
    "CONTENT",
    "EXPORTS",
    "MANIFEST",
    "QUERY",
    "TOWER",
    "ExportInfo",
    "FileInfo",
    "Lineage",
    "Manifest",
    "StudentInfo",
    "check_files",
    "read_manifest",
    "write_manifest",
]

MANIFEST, CARD, EXPORTS = "bundle.json", "README.md", "exports.json"
QUERY, TOWER, CONTENT = "query.onnx", "tower.onnx", "content"
UNLISTED = (MANIFEST, CARD, EXPORTS)  # what may change while a bundle is served
LARGEST = 16 * 2**20  # bytes of a manifest
PART = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"  # of a path: neither hidden nor above
Name = Annotated[str, Field(pattern=rf"^{PART}(/{PART})*$", max_length=255)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileInfo(_Part):
    """A file of the folder."""

    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class StudentInfo(_Part):
    """How the student answers.

    model: its kind. width: D. history_length: the last items that are read; None where users are looked up. content:
    the width of each modality that new items are placed by, in the order of the tower's inputs.
    """

    model: str
    width: int = Field(ge=1, le=2**16)
    history_length: int | None = Field(ge=1, le=2**16)
    precision: Precision
    content: dict[str, int] = Field(default_factory=dict)


class Lineage(_Part):
    """Where the student comes from.

    recipe: all settings. data, teacher: fingerprints of what was learned from, and from whom. method: how. alpha: the
    share of the soft labels beside the true ones. seed: of the student. versions: of what trained it.
    """

    recipe: dict[str, Any] = Field(default_factory=dict)
    data: str | None = None
    teacher: str | None = None
    method: str | None = None
    alpha: float | None = None
    seed: int | None = None
    versions: dict[str, str] = Field(default_factory=dict)


class ExportInfo(_Part):
    """An export, as its gate measured it.

    bytes: of its file. queries: held-out ones on which it was compared with the student in PyTorch. overlap: of the ten
    best items, the mean share that both have. quality: its NDCG@10 over the student's. p50_ms, p99_ms: of one query.
    length: of the history, -1 behind its end, where it takes no other.
    """

    bytes: int
    queries: int
    overlap: float
    quality: float
    p50_ms: float
    p99_ms: float
    length: int | None = None


class Manifest(_Part):
    """bundle.json.

    items, users: how many. content: how new items' content is read. files: all others that count, by path.
    """

    format: Literal[2] = 2
    distilrec: str
    student: StudentInfo
    items: int = Field(ge=1, lt=2**31)
    users: int = Field(ge=0, lt=2**31)
    content: dict[Name, dict[str, Any]] = Field(default_factory=dict)
    lineage: Lineage = Lineage()
    files: dict[Name, FileInfo] = Field(default_factory=dict)


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write bundle.json, last of all files, with the sizes and checksums of the others but card and exports."""
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in UNLISTED)
    files = {path.relative_to(folder).as_posix(): _info(path) for path in found}
    told = manifest.model_copy(update={"files": files}).model_dump(mode="json")
    content = Manifest.model_validate(told).model_dump(mode="json")
    partial = folder / f"{MANIFEST}.partial"
    partial.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    os.replace(partial, folder / MANIFEST)


def read_manifest(folder: Path, needed: Collection[str]) -> Manifest:
    """Read bundle.json, and check that the folder's files are those that it names.

    needed: files that must be among them. Raises ArtefactError, naming the file, on anything else.
    """
    path = folder / MANIFEST
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"it has {path.stat().st_size:,} bytes")
        told = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(told, dict) and told.get("format") == 1:
            raise ArtefactError(
                f"{folder} was written in format 1, before bundles served without torch; run `distilrec run "
                f"{folder.parent / 'recipe.yaml'} --out {folder.parent}` again, which keeps what is trained"
            )
        if isinstance(told, dict) and isinstance(told.get("format"), int) and told["format"] > 2:
            raise ArtefactError(
                f"{folder} has format {told['format']}, and this DistilRec reads 2; install a later DistilRec"
            )
        manifest = Manifest.model_validate(told)
    except (OSError, ValueError, ValidationError, RecursionError) as error:
        if isinstance(error, ArtefactError):
            raise
        raise ArtefactError(f"{path} can't be read: {error}; export the bundle again") from error
    missing = [name for name in (*needed, *_implied(manifest)) if name not in manifest.files]
    if missing:
        raise ArtefactError(f"{path} doesn't name {', '.join(missing)}; export the bundle again")
    check_files(folder, manifest)
    return manifest


def check_files(folder: Path, manifest: Manifest) -> None:
    """Raises ArtefactError, naming it, on a file that isn't what the manifest says."""
    for name, info in manifest.files.items():
        _check(folder, name, info)


def _implied(manifest: Manifest) -> list[str]:
    """Files that such a student, and such content, must have."""
    told = manifest.student
    found = ([QUERY] if told.history_length is not None else []) + ([TOWER] if told.content else [])
    for name in manifest.content:
        place = f"{CONTENT}/{name}"
        found.append(f"{place}/encoder.json")
        if f"{place}/{SETTINGS}" in manifest.files:
            found += [f"{place}/{GRAPH}", f"{place}/{TOKENIZER}"]
    return found


def _check(folder: Path, name: str, info: FileInfo) -> None:
    path = folder / name
    if ".." in PurePosixPath(name).parts or not path.resolve().is_relative_to(folder.resolve()):
        raise ArtefactError(f"{folder / MANIFEST} names {name}, which lies outside of the bundle: don't trust it")
    if not path.is_file():
        raise ArtefactError(f"{path} is missing from the bundle; copy it again")
    if path.stat().st_size != info.bytes:
        raise ArtefactError(
            f"{path} has {path.stat().st_size:,} bytes where the bundle says {info.bytes:,}: it was cut short or "
            "changed; copy the bundle again"
        )
    if _info(path) != info:
        raise ArtefactError(f"{path} isn't what the bundle's checksum says: damaged or changed; copy the bundle again")


def _info(path: Path) -> FileInfo:
    with path.open("rb") as file:
        return FileInfo(bytes=path.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())
