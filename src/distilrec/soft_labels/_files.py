"""Writing that survives a power cut, and checksums."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["Column", "Columns", "NpyWriter", "publish", "sha256", "write_json"]

Column = tuple[np.dtype[Any], tuple[int, ...]]
Columns = Mapping[str, Column]


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON so that the file is there in full or not at all, whenever the process dies."""
    partial = path.with_name(f".{path.name}.tmp")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1, sort_keys=True, ensure_ascii=False)
        file.write("\n")
        _sync(file)
    publish(partial, path)


def publish(partial: Path, final: Path) -> None:
    """Give a finished file or folder its name, for good."""
    if partial.is_dir():
        _sync_folder(partial)
    partial.replace(final)
    _sync_folder(final.parent)


class NpyWriter:
    """Writes the columns of a table to one .npy file each, some rows at a time, in bounded memory.

    folder: must exist. columns: name -> dtype and shape of a row. n_rows: how many rows there will be.
    On leaving the context the files are on the disk. Plain writes, no memory map: a full disk is an OSError,
    not a dead process.
    """

    def __init__(self, folder: Path, columns: Columns, n_rows: int) -> None:
        self._folder, self._columns, self._n_rows = folder, columns, n_rows
        self._files: dict[str, IO[bytes]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for name, (dtype, shape) in self._columns.items():
            file = self._stack.enter_context((self._folder / f"{name}.npy").open("wb"))
            header = {"descr": dtype.str, "fortran_order": False, "shape": (self._n_rows, *shape)}
            np.lib.format.write_array_header_1_0(file, header)
            self._files[name] = file
        return self

    def append(self, rows: Mapping[str, NDArray[Any]]) -> None:
        """Write the next rows: for each column an array (r, ...)."""
        for name, (dtype, shape) in self._columns.items():
            assert rows[name].shape[1:] == shape, (name, rows[name].shape, shape)
            self._files[name].write(np.ascontiguousarray(rows[name], dtype=dtype).tobytes())

    def __exit__(self, exception: type[BaseException] | None, *_: object) -> None:
        with self._stack:
            if exception is None:
                for file in self._files.values():
                    _sync(file)


def _sync(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # elsewhere a folder can't be opened, and needn't be
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
