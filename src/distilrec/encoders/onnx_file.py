"""Models in ONNX files, run by onnxruntime."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distilrec.errors import ModelError, require

__all__ = ["OnnxFile", "onnx_parts"]


class OnnxFile:
    """An ONNX file, opened: one float32 input whose first axis counts rows; its first output is a vector per row.

    ranks: how many axes its input may have. The input's axes are in `shape`, None where the file leaves one open.
    The first output is (B, D), (B, D, 1, 1), or (B, L, D), of which the mean over L is taken.
    Raises ModelError where the file is broken, or its input or output is another.
    """

    def __init__(self, path: Path, ranks: Sequence[int]) -> None:
        require("onnxruntime", "content", "an ONNX file")
        onnxruntime = importlib.import_module("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = _threads(), 1
        options.log_severity_level = 4  # its faults come as exceptions, too
        self.path = path
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # those of onnxruntime share no other base
            raise ModelError(f"{path} can't be opened as an ONNX file ({error}); export the model again") from error
        inputs = self._session.get_inputs()
        told = ", ".join(f"{each.name} {each.shape} {each.type}" for each in inputs)
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) not in ranks:
            wanted = " or ".join(map(str, ranks))
            raise ModelError(f"{path} takes {told}; expected one float32 input of {wanted} axes; export it so")
        self._input = inputs[0].name
        self.shape = tuple(size if isinstance(size, int) else None for size in inputs[0].shape)
        if self.shape[0] not in (None, 1):
            raise ModelError(f"{path} takes {self.shape[0]} rows at once; export it with an open first axis, or of 1")

    def vectors(self, rows: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """N arrays, as the file takes them but for the first axis -> (n, D) float32.

        Row by row, because a quantised model's answer for one row may depend on the others in its batch.
        Raises ModelError where rows don't fit the file.
        """
        return np.concatenate([self._vector(row[None]) for row in rows])

    def _vector(self, row: NDArray[np.float32]) -> NDArray[np.float32]:
        fits = len(row.shape) == len(self.shape) and all(
            known in (None, given) for known, given in zip(self.shape, row.shape, strict=True)
        )
        if not fits:
            raise ModelError(f"{self.path} takes {_told(self.shape)}, given {_told(row.shape)}; correct its settings")
        try:
            output = np.asarray(self._session.run(None, {self._input: row})[0])
        except Exception as error:  # as above
            raise ModelError(
                f"{self.path} can't be run on {_told(row.shape)} ({error}); correct its settings"
            ) from error
        if output.ndim == 3:
            output = output.mean(1)
        elif output.ndim == 4 and output.shape[2:] == (1, 1):
            output = output[:, :, 0, 0]
        if output.ndim != 2 or len(output) != 1:
            raise ModelError(
                f"{self.path}: the first output has shape {_told(output.shape)}; expected (1, D), (1, D, 1, 1) or "
                "(1, L, D), so pool it before it is exported"
            )
        return output.astype(np.float32)


def onnx_parts(path: Path) -> list[Path]:
    """An ONNX file and the files of weights beside it, whose names go on from its own, such as `model.onnx.data`."""
    return [
        path,
        *sorted(other for other in path.parent.iterdir() if other.name.startswith((f"{path.name}.", f"{path.name}_"))),
    ]


def _told(shape: Sequence[int | None]) -> str:
    return f"({', '.join('any' if size is None else str(size) for size in shape)})"


def _threads() -> int:
    if importlib.util.find_spec("torch") is None:
        return 1
    import torch

    return torch.get_num_threads()
