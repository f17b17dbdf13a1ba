"""Vectors on disk by the content that they were made of, so that nothing is encoded twice."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from distilrec.errors import ArtefactError

__all__ = ["VectorCache", "VectorPrecision", "content_keys"]

VectorPrecision: TypeAlias = Literal["float32", "float16", "int8"]


class VectorCache:
    """What one encoder has encoded so far, in shards that are never changed.

    folder: of this encoder and precision alone. int8 holds a byte per value and a scale per vector.
    A shard is there whole or not at all, so an encoding that was killed goes on after its last shard.
    """

    def __init__(self, folder: Path, precision: VectorPrecision) -> None:
        self._folder, self._precision = folder, precision
        folder.mkdir(parents=True, exist_ok=True)
        self._shards = sorted(folder.glob("*.safetensors"))
        each = [self._keys_of(path) for path in self._shards]
        keys = np.concatenate([np.empty(0, np.uint64), *each])
        order = np.argsort(keys, kind="stable")
        self._keys = keys[order]  # ascending; the next two say where each one's vector is
        self._shard = np.repeat(np.arange(len(each)), [len(part) for part in each])[order]
        self._row = np.concatenate([np.empty(0, np.int64), *(np.arange(len(part)) for part in each)])[order]

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def width(self) -> int | None:
        """D, or None while nothing is there."""
        return None if not self._shards else int(self._read(0, np.zeros(1, np.int64)).shape[1])

    def holds(self, keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """(n,) bool: which contents, by their keys (n,), are there."""
        if len(self._keys) == 0:
            return np.zeros(len(keys), np.bool_)
        place = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        found: NDArray[np.bool_] = self._keys[place] == keys
        return found

    def vectors(self, keys: NDArray[np.uint64]) -> NDArray[np.float32]:
        """(n, D) float32: of contents that are there."""
        place = np.searchsorted(self._keys, keys)
        shards, rows = self._shard[place], self._row[place]
        found: NDArray[np.float32] | None = None
        for shard in np.unique(shards):
            here = shards == shard
            read = self._read(int(shard), rows[here])
            if found is None:
                found = np.empty((len(keys), read.shape[1]), np.float32)
            found[here] = read
        assert found is not None  # `holds` was asked before
        return found

    def add(self, keys: NDArray[np.uint64], vectors: NDArray[np.float32]) -> None:
        """Write vectors (n, D) of contents that aren't there yet, as a shard."""
        arrays = _encoded(vectors, self._precision)
        name = hashlib.sha256(keys.tobytes()).hexdigest()[:16]  # so that two processes don't take the same one
        path = self._folder / f"{len(self._shards):06d}-{name}.safetensors"
        partial = path.with_suffix(f".{os.getpid()}.partial")
        save_file({"keys": keys, **arrays}, partial)
        partial.replace(path)
        order = np.argsort(keys, kind="stable")
        place = np.searchsorted(self._keys, keys[order])
        self._keys = np.insert(self._keys, place, keys[order])
        self._shard = np.insert(self._shard, place, len(self._shards))
        self._row = np.insert(self._row, place, order)
        self._shards.append(path)

    def _keys_of(self, path: Path) -> NDArray[np.uint64]:
        with _opened(path) as file:
            keys: NDArray[np.uint64] = file.get_tensor("keys")
        return keys

    def _read(self, shard: int, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        with _opened(self._shards[shard]) as file:
            begin, end = int(rows.min()), int(rows.max()) + 1
            vectors: NDArray[np.float32] = file.get_slice("vectors")[begin:end][rows - begin].astype(np.float32)
            return vectors * file.get_tensor("scale")[rows][:, None] if self._precision == "int8" else vectors


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except (OSError, SafetensorError, ValueError, IndexError) as error:
        raise ArtefactError(f"{path} is damaged ({error}); delete it, and its content is encoded anew") from error


def content_keys(values: Sequence[Any]) -> NDArray[np.uint64]:
    """(n,) uint64: a number for each content, the same for the same content.

    Of 64 bits: among a million contents the odds that two share one are 1 in 40 million.

    >>> keys = content_keys(["a", "b", "a"])
    >>> bool(keys[0] == keys[2]), bool(keys[0] == keys[1])
    (True, False)
    """
    digests = b"".join(hashlib.blake2b(_bytes(value), digest_size=8).digest() for value in values)
    return np.frombuffer(digests, np.uint64)


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, np.ndarray):
        return value.tobytes()
    return (value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)).encode()


def _encoded(vectors: NDArray[np.float32], precision: VectorPrecision) -> dict[str, NDArray[Any]]:
    if precision != "int8":
        return {"vectors": np.ascontiguousarray(vectors.astype(precision))}
    scale = (np.abs(vectors).max(axis=1) / 127).clip(min=np.finfo(np.float32).tiny).astype(np.float32)
    return {"vectors": np.rint(vectors / scale[:, None]).astype(np.int8), "scale": scale}
