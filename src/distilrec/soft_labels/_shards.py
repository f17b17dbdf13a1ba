"""The arrays of a store, memory-mapped, and rows gathered from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from distilrec.errors import ArtefactError
from distilrec.soft_labels._files import Column
from distilrec.soft_labels.manifest import Manifest, cure, shard_name

__all__ = ["Groups", "Shards"]

# Per shard that a batch touches: its number, the places in the batch, the rows within the shard.
Groups: TypeAlias = list[tuple[int, NDArray[np.int64], NDArray[np.int64]]]


class Shards:
    """The arrays of one store. Each is opened when first read, and stays open."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self._path, self._manifest = path, manifest
        self.columns = manifest.columns()
        self._arrays: dict[str, NDArray[Any]] = {}

    def groups(self, rows: NDArray[np.int64]) -> Groups:
        """Sort the rows (B,) by shard, so that each is read once and forward; rows of -1 are left out."""
        n_rows = self._manifest.n_queries
        if len(rows) > 0 and (rows.min() < -1 or rows.max() >= n_rows):
            raise ValueError(f"soft labels: rows must lie in -1..{n_rows - 1}, given {rows.min()}..{rows.max()}")
        order = np.argsort(rows, kind="stable")
        order = order[np.searchsorted(rows[order], 0) :]
        shards, within = np.divmod(rows[order], self._manifest.shard_rows)
        numbers, starts = np.unique(shards, return_index=True)
        parts = zip(np.split(order, starts[1:]), np.split(within, starts[1:]), strict=True)
        # Without rows there is no shard, but one part, which is empty.
        return [(int(number), *part) for number, part in zip(numbers, parts, strict=False)]

    def gather(self, name: str, n: int, groups: Groups) -> NDArray[Any]:
        """(n, ...): a column at the rows of `groups`, zeros elsewhere."""
        dtype, shape = self.columns[name]
        out = np.zeros((n, *shape), dtype)
        for shard, places, within in groups:
            out[places] = self.array(shard, name)[within]
        return out

    def array(self, shard: int, name: str) -> NDArray[Any]:
        """A column of one shard."""
        size = self._manifest.shard_rows
        rows = min(size, self._manifest.n_queries - shard * size)
        return self._open(f"{shard_name(shard)}/{name}.npy", self.columns[name], rows)

    def item_array(self, name: str) -> NDArray[Any]:
        """An array with one row per item."""
        return self._open(f"{name}.npy", self._manifest.item_columns()[name], self._manifest.n_items)

    def _open(self, name: str, column: Column, rows: int) -> NDArray[Any]:
        if name not in self._arrays:
            path, (dtype, shape) = self._path / name, column
            try:
                array = np.load(path, mmap_mode="r")
            except (OSError, ValueError) as error:
                raise ArtefactError(f"{path}: missing or damaged; {cure(self._path)}") from error
            if array.dtype != dtype or array.shape != (rows, *shape):
                raise ArtefactError(
                    f"{path}: holds {array.dtype} {array.shape}, expected {dtype} {(rows, *shape)}; {cure(self._path)}"
                )
            self._arrays[name] = np.asarray(array)
        return self._arrays[name]
