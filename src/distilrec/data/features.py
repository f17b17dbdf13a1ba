"""What encoders made of a catalogue's content: vectors aligned with the items."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from distilrec.errors import ArtefactError, DataError

__all__ = ["Features"]

VECTORS, KNOWN = "vectors.npy", "known.npy"


@dataclass(frozen=True, eq=False)
class Features:
    """Vectors of one modality for all items.

    vectors: (N, D) float16 or float32, zeros where not known. known: (N,) bool. Opened from a folder, the vectors stay
    on disk.

    >>> features = Features(np.ones((2, 3), np.float32), np.array([True, False]))
    >>> len(features), features.width
    (2, 3)
    """

    vectors: NDArray[np.floating[Any]]
    known: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.known)

    @property
    def width(self) -> int:
        """D."""
        return int(self.vectors.shape[1])

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open what `FeatureWriter` wrote; raises ArtefactError on a folder that doesn't hold it."""
        try:
            vectors, known = np.load(folder / VECTORS, mmap_mode="r"), np.load(folder / KNOWN)
        except (OSError, ValueError) as error:
            raise ArtefactError(f"The item vectors in {folder} can't be read: {error}; encode them again") from error
        if vectors.ndim != 2 or known.shape != vectors.shape[:1] or known.dtype != np.bool_:
            raise ArtefactError(
                f"The item vectors in {folder} don't fit together: {vectors.shape} vectors, {known.shape} marks; "
                "encode them again"
            )
        return cls(vectors, known)


class FeatureWriter:
    """Writes features item by item, in bounded memory; they are there when it is finished, and not before."""

    def __init__(self, folder: Path, n_items: int, width: int, dtype: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._partial = folder / f"{VECTORS}.partial"
        self._vectors = np.lib.format.open_memmap(
            self._partial, mode="w+", dtype=np.dtype(dtype), shape=(n_items, width)
        )
        self._known = np.zeros(n_items, np.bool_)

    def write(self, places: NDArray[np.int32], vectors: NDArray[np.float32]) -> None:
        """Vectors (n, D) of the items at places (n,). Raises DataError where those before had another length."""
        if vectors.shape[1] != self._vectors.shape[1]:
            raise DataError(
                f"{self._folder.name}: vectors of {vectors.shape[1]} numbers after some of {self._vectors.shape[1]}; "
                "all must have one length"
            )
        self._vectors[places] = vectors
        self._known[places] = True

    def finish(self) -> Features:
        """Put everything in place and open it."""
        self._vectors.flush()
        del self._vectors
        partial = self._folder / f"{KNOWN}.partial"
        with partial.open("wb") as file:
            np.save(file, self._known)
        os.replace(partial, self._folder / KNOWN)
        os.replace(self._partial, self._folder / VECTORS)
        return Features.open(self._folder)
