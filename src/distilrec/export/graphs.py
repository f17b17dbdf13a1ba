"""What a student computes, as ONNX graphs: from a history's vectors to the query's, and from content to an item's."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from distilrec.errors import ModelError, require
from distilrec.models import ContentMaps, SequenceModel
from distilrec.runtime.graph import Graph

__all__ = ["write_query_graph", "write_tower_graph"]

OPSET = 17
TOLERANCE = 1e-4  # of a graph's numbers, beside the largest


class _Query(nn.Module):
    """(B, L, D) vectors of histories and (B,) lengths -> (B, D), the state at each one's end."""

    def __init__(self, model: SequenceModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        return self.model.end_states(vectors, lengths - 1)


class _Tower(nn.Module):
    """Vectors (n, D_m) of each modality and which are known, (n, M) float -> (n, D), and the bias behind."""

    def __init__(self, tower: ContentMaps) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, known: Tensor, *features: Tensor) -> Tensor:
        return self.tower.placed(features, known > 0)


def write_query_graph(model: SequenceModel, path: Path) -> None:
    """Write the graph that reads a history: `vectors` (B, L, D) and `lengths` (B,) int64 -> `query` (B, D).

    L is at most the model's history length, padding stands after the items. Raises ModelError where the graph's
    answers aren't the model's.
    """

    def example(rows: int, length: int) -> tuple[Tensor, ...]:
        vectors = torch.from_numpy(np.random.default_rng(rows).normal(size=(rows, length, model.width)).astype("f4"))
        return vectors, (torch.arange(rows) % length + 1)

    most = model.history_length
    sizes = {"vectors": {0: "queries", 1: "length"}, "lengths": {0: "queries"}, "query": {0: "queries"}}
    examples = [example(rows, length) for rows, length in ((2, most), (1, 1), (3, max(1, most // 2)))]
    _export(_Query(model).eval(), examples, ["vectors", "lengths"], "query", sizes, path)


def write_tower_graph(tower: ContentMaps, path: Path) -> None:
    """Write the graph that places new items: `known` (n, M) and `content_NAME` (n, D_m) -> `items` (n, D or D + 1)."""
    widths = tower.config.widths or {}
    names = [f"content_{name}" for name in tower.config.modalities]

    def example(rows: int) -> tuple[Tensor, ...]:
        rng = np.random.default_rng(rows)
        known = torch.ones(rows, len(names))
        known[0, 1:] = 0
        features = [rng.normal(size=(rows, widths[name])).astype("f4") for name in tower.config.modalities]
        return known, *map(torch.from_numpy, features)

    sizes = {name: {0: "items"} for name in ("known", *names, "items")}
    _export(_Tower(tower).eval(), [example(2), example(1), example(5)], ["known", *names], "items", sizes, path)


def _export(
    module: nn.Module,
    examples: Sequence[tuple[Tensor, ...]],
    inputs: list[str],
    output: str,
    sizes: Mapping[str, Mapping[int, str]],
    path: Path,
) -> None:
    for package in ("onnx", "onnxruntime"):
        require(package, "train", "a bundle")
    with torch.inference_mode(), warnings.catch_warnings(action="ignore"):  # the exporter warns of its age
        torch.onnx.export(
            module,
            examples[0],
            path,
            input_names=inputs,
            output_names=[output],
            dynamic_axes=sizes,
            opset_version=OPSET,
            dynamo=False,
        )
        graph = Graph(path)
        for example in examples:
            expected = module(*example).numpy()
            given = graph(dict(zip(inputs, (each.numpy() for each in example), strict=True)))
            error = np.abs(given - expected).max() / max(np.abs(expected).max(), 1e-12)
            if not error < TOLERANCE:
                raise ModelError(f"{path.name} is off by {error:.2g} of its largest value; report this with the recipe")
