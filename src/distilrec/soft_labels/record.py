"""Recording a teacher's soft labels to disk, once; an interrupted recording goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distilrec.data import Interactions
from distilrec.errors import ArtefactError, SoftLabelError
from distilrec.locking import alone
from distilrec.scoring import Queries, Ragged, Recommender
from distilrec.soft_labels import checks
from distilrec.soft_labels._files import sha256, write_json
from distilrec.soft_labels._recording import Progress, Recording
from distilrec.soft_labels.config import RecordConfig
from distilrec.soft_labels.manifest import FORMAT_VERSION, MANIFEST, RECORDING, Layout, Manifest
from distilrec.soft_labels.table import SoftLabels
from distilrec.soft_labels.temperature import fit_temperature

__all__ = ["record"]


def record(
    teacher: Recommender,
    queries: Queries,
    query_ids: NDArray[np.integer[Any]],
    path: str | Path,
    config: RecordConfig,
    *,
    seed: int,
    data_fingerprint: str,
    teacher_fingerprint: str,
    validation: tuple[Queries, Ragged] | None = None,
    held_out: Interactions | None = None,
    left_out: NDArray[np.bool_] | None = None,
    since: SoftLabels | None = None,
    progress: Progress | None = None,
) -> SoftLabels:
    """Record what the teacher says of R queries into the folder `path`, and open it.

    query_ids: (R,) integers, distinct, by which training finds the rows. seed: of the sampled tails.
    data_fingerprint: of the training data that the queries come from; a teacher with an attribute
    `training_fingerprint` must have been trained on the same. teacher_fingerprint: names the teacher.
    validation: queries and targets to fit the temperature on; without them it is 1. held_out: interactions
    that no recorded history may hold. left_out: (N,) bool, items that students shall learn nothing about, such as those
    that are held out: they are neither listed nor sampled, and not in the log-sum-exp.
    since: an earlier recording of the same teacher with the same settings: its temperature is kept, and the rows of
    queries that hold the same user, history and masked items are taken over without asking the teacher; new tails are
    drawn for new rows only. progress: called with rows done and rows in all.
    The call may be repeated after an interruption, at any moment, with the same arguments: finished shards
    are kept, and the bytes are those of an uninterrupted recording. A finished store is opened.
    Raises SoftLabelError when the teacher or the queries are unfit, the folder holds something else, another process
    records into it, `since` doesn't fit, or the disk is too small; ArtefactError when a file of `since` is damaged.
    """
    checks.check_teacher(teacher)
    query_ids = np.asarray(query_ids)
    checks.check_queries(queries, query_ids, teacher.n_items)
    checks.check_training_data(teacher, data_fingerprint)
    if held_out is not None:
        checks.check_held_out(queries, held_out)
    identity = {
        "config": config.model_dump(mode="json"),
        "data_fingerprint": data_fingerprint,
        "n_items": teacher.n_items,
        "n_queries": len(queries),
        "n_validation_queries": 0 if validation is None else len(validation[0]),
        "queries": _digest(queries, query_ids),
        "seed": seed,
        "since": None if since is None else sha256(since.path / MANIFEST),
        "teacher_fingerprint": teacher_fingerprint,
    }
    if left_out is not None:
        checks.check_left_out(left_out, teacher.n_items)
        identity["left_out"] = hashlib.sha256(np.packbits(left_out).tobytes()).hexdigest()[:16]
    recording = Recording(teacher, queries, query_ids.astype(np.int64), Path(path), config, seed, since, left_out)
    if (recording.path / MANIFEST).is_file():
        _begun(recording.path, identity)
        return SoftLabels.open(recording.path)
    path = recording.path
    busy = SoftLabelError(
        f"record: another process is recording into {path}; wait until it has finished, or name another folder"
    )
    with alone(path.with_name(f".{path.name}.lock"), busy):
        begun = _begun(recording.path, identity)
        if since is not None:
            layout = config.layout(teacher.n_items, recording.width, since.temperature)
            _check_since(since, layout, config, teacher_fingerprint)
        recording.audition()
        recording.prepare_folder()
        if begun is None:
            fitted = None
            if since is not None:
                fitted = since.temperature if since.manifest.temperature_fitted else None
            elif validation is not None:
                fitted = fit_temperature(teacher, *validation, filter_seen=config.filter_seen)
            begun = {"format_version": FORMAT_VERSION, "identity": identity, "temperature": fitted}
            write_json(recording.path / RECORDING, begun)
        temperature: float | None = begun["temperature"]
        layout = config.layout(teacher.n_items, recording.width, temperature or 1.0)
        recording.write_items(layout)
        recording.write_shards(layout, progress)
        manifest = Manifest(
            **layout.model_dump(),
            teacher_fingerprint=teacher_fingerprint,
            data_fingerprint=data_fingerprint,
            n_queries=len(queries),
            shard_rows=config.shard_rows,
            scores_are_logits=teacher.scores_are_logits,
            temperature=temperature or 1.0,
            temperature_fitted=temperature is not None,
            filter_seen=config.filter_seen,
            checksums=recording.checksums(),
            created_by={"numpy": np.__version__, "python": platform.python_version(), "torch": torch.__version__},
        )
        write_json(recording.path / MANIFEST, manifest.model_dump(mode="json"))
        return SoftLabels.open(recording.path)


def _begun(path: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """What was begun in the folder, None if nothing was; SoftLabelError if it is something else."""
    file = path / RECORDING
    if not file.is_file():
        others = [p.name for p in path.glob("*") if not p.name.endswith(".tmp")]
        if others:
            raise SoftLabelError(f"record: {path} holds {min(others)!r}, which is no recording; name another folder")
        return None
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        known = dict(content["identity"])
    except (ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"{file}: damaged; delete {path} and record again") from error
    differing = [key for key in identity if known.get(key) != identity[key]]
    if content.get("format_version") != FORMAT_VERSION or differing:
        changes = [f"{key} was {known.get(key)}, now {identity[key]}" for key in differing]
        raise SoftLabelError(
            f"record: {path} holds another recording ({'; '.join(changes) or 'of another version'}); "
            "name another folder, or delete this one to record anew"
        )
    return content


def _check_since(since: SoftLabels, layout: Layout, config: RecordConfig, teacher_fingerprint: str) -> None:
    """Refuse a store whose rows would mean something else here, or that is damaged."""
    given = {**layout.model_dump(exclude={"keys"}), "filter_seen": config.filter_seen, "teacher": teacher_fingerprint}
    known = {**since.manifest.model_dump(), "teacher": since.manifest.teacher_fingerprint}
    changes = [f"{key} was {known[key]}, now {given[key]}" for key in given if known[key] != given[key]]
    if changes:
        raise SoftLabelError(
            f"record: {since.path} can't be gone on from ({'; '.join(changes)}); keep the settings, or record in full"
        )
    if not since.manifest.keys:
        raise SoftLabelError(
            f"record: {since.path} holds no keys of its queries, so it can't be gone on from; record once more in full"
        )
    since.verify()


def _digest(queries: Queries, query_ids: NDArray[Any]) -> str:
    """16 hex digits of which queries there are; what they hold is the data fingerprint's to tell."""
    digest = hashlib.sha256()
    for values in (query_ids, queries.users, queries.histories.lengths, queries.masked.lengths):
        digest.update(np.ascontiguousarray(values, dtype=np.int64).tobytes())
    return digest.hexdigest()[:16]
