"""An ONNX graph, run by one thread."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilrec.errors import ArtefactError, require

__all__ = ["Graph", "open_session"]


def open_session(path: Path) -> Any:
    """An InferenceSession of one thread. Raises ArtefactError where the file is no graph that can be run."""
    require("onnxruntime", "serve", "a bundle")
    onnxruntime = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # its faults come as exceptions, too
    try:
        # From bytes, so that a graph can't name files beside or above itself.
        return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # those of onnxruntime share no other base
        raise ArtefactError(f"{path} can't be opened: {error}; export the bundle again") from error


class Graph:
    """An ONNX graph with named inputs and one output. Raises ArtefactError where the file is none."""

    def __init__(self, path: Path) -> None:
        self._session = open_session(path)
        self.inputs = {given.name: given.shape for given in self._session.get_inputs()}

    def __call__(self, given: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """The output."""
        output: NDArray[np.float32] = self._session.run(None, given)[0]
        return output
