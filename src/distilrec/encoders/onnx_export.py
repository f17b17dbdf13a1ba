"""Text models as ONNX graphs: exported once, kept on disk, run by onnxruntime, in float32 or int8."""

from __future__ import annotations

import importlib
import tempfile
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from distilrec.encoders.transformer import Forward, Pooled, forward_in_torch
from distilrec.errors import ModelError, require

__all__ = ["ExportError", "exported", "quantised", "session"]

FILE = "model.onnx"
BLOCK = 32  # weights with one scale; 128 leave MiniLM 0.95 of its neighbours, not 0.97, and let rows depend on others
TOLERANCE = 1e-4  # of a graph's vectors, beside the largest value


class ExportError(ModelError):
    """A model that can't be made a graph, or a graph that can't be kept."""


def exported(folder: Path, make: Callable[[], Pooled]) -> Path:
    """The graph in `folder`, written whole or not at all if it isn't there yet.

    make: loads the model. The graph takes `ids` and `mask`, (b, L) int64, and gives `vectors` (b, D).
    Raises ExportError where the model can't be exported, or the graph's answers aren't the model's.
    """
    if (folder / FILE).is_file():
        return folder / FILE
    for package in ("onnx", "onnxruntime"):
        require(package, "content", "a text encoder as ONNX")
    model = make()

    def write(path: Path) -> None:
        _export(model, path)
        _compare(model, path)

    return _stored(folder, write)


def quantised(folder: Path, graph: Path) -> Path:
    """The graph in `folder` whose matrices are int8 with a scale per 32 weights, made of `graph` if it isn't there yet.

    onnxruntime quantises the activations when it runs, in blocks, too, so a row doesn't depend on others. With one
    scale per tensor, as in its own dynamic quantisation, it would.
    """
    if (folder / FILE).is_file():
        return folder / FILE
    require("onnx", "content", "a quantised encoder")
    return _stored(folder, lambda path: _quantise(graph, path))


def session(path: Path) -> Forward:
    """Run a graph with as many threads as torch has. Raises ModelError where it can't be opened."""
    require("onnxruntime", "content", "a text encoder as ONNX")
    onnxruntime = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    options.log_severity_level = 4  # its faults come as exceptions, too
    try:
        opened = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # those of onnxruntime share no other base
        raise ModelError(f"{path} can't be opened ({error}); delete its folder, and it is made anew") from error

    def forward(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        vectors: NDArray[np.float32] = opened.run(None, {"ids": ids, "mask": mask})[0]
        return vectors

    return forward


def _export(model: Pooled, path: Path) -> None:
    """With the older exporter and attention in plain operations, whose graphs onnxruntime fuses best.

    On MiniLM those of the newer exporter took 1.07 times as long, as did those fused by onnxruntime's own optimizer.
    """
    model.model.set_attn_implementation("eager")  # type: ignore[operator]  # of transformers
    axes = {0: "rows", 1: "tokens"}
    try:
        with torch.inference_mode(), _silent():
            torch.onnx.export(
                model,
                _probe(model, rows=2, tokens=7),
                path,
                input_names=["ids", "mask"],
                output_names=["vectors"],
                dynamic_axes={"ids": axes, "mask": axes, "vectors": {0: "rows"}},
                opset_version=17,
                dynamo=False,
            )
    except Exception as error:  # tracing runs the model's own code
        raise ExportError(
            f"{type(model.model).__name__} can't be exported to ONNX ({error}); set backend to torch"
        ) from error


def _compare(model: Pooled, path: Path) -> None:
    graph, plain = session(path), forward_in_torch(model)
    for rows, tokens in ((1, 5), (3, 11)):
        ids, mask = (tensor.numpy() for tensor in _probe(model, rows, tokens))
        expected = plain(ids, mask)
        error = np.abs(graph(ids, mask) - expected).max() / np.abs(expected).max()
        if not error < TOLERANCE:
            raise ExportError(
                f"{type(model.model).__name__} as an ONNX graph is off by {error:.2g} of its largest value; "
                "set backend to torch"
            )


def _probe(model: Pooled, rows: int, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask (rows, tokens) int64 of any tokens; row by row two less of them are real."""
    size = int(model.model.config.vocab_size)  # type: ignore[arg-type, union-attr]
    ids = torch.arange(rows * tokens).reshape(rows, tokens) * 7919 % size
    mask = (torch.arange(tokens) < tokens - 2 * torch.arange(rows).unsqueeze(1)).long()
    return ids, mask


def _quantise(graph: Path, path: Path) -> None:
    onnx = importlib.import_module("onnx")
    model = onnx.load(graph)
    matrices = {tensor.name: tensor for tensor in model.graph.initializer if len(tensor.dims) == 2}
    for node in model.graph.node:
        if node.op_type != "MatMul" or node.input[1] not in matrices:
            continue
        name = node.input[1]
        numbers, scales = _blocks(onnx.numpy_helper.to_array(matrices[name]))
        model.graph.initializer.append(onnx.numpy_helper.from_array(numbers, f"{name}_int8"))
        model.graph.initializer.append(onnx.numpy_helper.from_array(scales, f"{name}_scales"))
        made = onnx.helper.make_node(
            "MatMulNBits",
            [node.input[0], f"{name}_int8", f"{name}_scales"],
            node.output,
            node.name,
            domain="com.microsoft",
            K=matrices[name].dims[0],
            N=matrices[name].dims[1],
            bits=8,
            block_size=BLOCK,
            accuracy_level=4,  # activations as int8
        )
        node.CopyFrom(made)
    read = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, path)


def _blocks(matrix: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """(K, N) -> whole numbers around 128 (N, blocks, 32) and scales (N, blocks); zeros after the K-th row."""
    rows, columns = matrix.shape
    blocks = -(-rows // BLOCK)
    full = np.zeros((columns, blocks * BLOCK), np.float32)
    full[:, :rows] = matrix.T
    full = full.reshape(columns, blocks, BLOCK)
    scales = (np.abs(full).max(axis=2) / 127).clip(min=np.finfo(np.float32).tiny)
    return (np.rint(full / scales[:, :, None]) + 128).astype(np.uint8), scales


def _stored(folder: Path, write: Callable[[Path], None]) -> Path:
    """Write a graph beside `folder`, and put it there at once. Raises ExportError where that isn't possible."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as own:
            ready = Path(own) / folder.name
            ready.mkdir()
            write(ready / FILE)
            try:
                ready.replace(folder)
            except OSError:
                if not (folder / FILE).is_file():  # else another process was first
                    raise
    except OSError as error:
        raise ExportError(f"the graph can't be kept in {folder} ({error}); make room there") from error
    return folder / FILE


def _silent() -> AbstractContextManager[object]:
    """The exporter warns of its age, and of every branch of Python that tracing follows."""
    return warnings.catch_warnings(action="ignore")
