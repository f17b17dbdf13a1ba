"""States of a model on its way to the finished one, some of them kept on disk while it is trained."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.torch import load_file, save_file
from torch import Tensor

__all__ = ["Trajectory"]


class Trajectory:
    """Keeps the weights of every epoch, then of every second one, and so on, so that there are never more than 2 n.

    Which epochs are kept follows from the last one alone, so an interrupted training leaves the same files.
    """

    def __init__(self, folder: Path, n: int) -> None:
        self.folder, self.n = folder, n

    def keep(self, epoch: int, weights: Mapping[str, Tensor]) -> None:
        """Write the weights after this epoch, and drop those that are too near to each other by now."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(epoch)
        partial = path.with_suffix(".partial")
        save_file({name: value.contiguous() for name, value in weights.items()}, partial)
        partial.replace(path)
        kept = self.epochs()
        stride = 1
        while kept[-1] // stride > 2 * self.n:
            stride *= 2
        for number in kept:
            if number % stride:
                self._path(number).unlink()

    def epochs(self) -> list[int]:
        """Those kept, ascending."""
        return sorted(int(path.stem) for path in self.folder.glob("*.safetensors"))

    def choose(self, last: int) -> list[int]:
        """The n epochs kept that are nearest to 1, 2, .. n of n + 1 equal parts of the way to `last`.

        None is later; one may stand twice where few were kept, and it is `last` itself where none was.

        >>> from tempfile import TemporaryDirectory
        >>> import torch
        >>> with TemporaryDirectory() as folder:
        ...     trajectory = Trajectory(Path(folder), n=2)
        ...     for epoch in range(1, 10):
        ...         trajectory.keep(epoch, {"w": torch.zeros(1)})
        ...     trajectory.epochs(), trajectory.choose(last=9), trajectory.choose(last=3)
        ([2, 4, 6, 8], [2, 6], [2, 2])
        """
        epochs = np.array([epoch for epoch in self.epochs() if epoch < last] or [last])
        wished = np.arange(1, self.n + 1) * last / (self.n + 1)
        return [int(epochs[np.abs(epochs - wish).argmin()]) for wish in wished]

    def weights(self, epoch: int) -> dict[str, Tensor]:
        """As they were kept."""
        return load_file(self._path(epoch))

    def remove(self) -> None:
        """Delete all files."""
        shutil.rmtree(self.folder)

    def _path(self, epoch: int) -> Path:
        return self.folder / f"{epoch:06}.safetensors"
