"""Words as vectors, without torch: the tokenizer and the graph that a bundle has."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from distilrec.errors import ArtefactError, require
from distilrec.runtime.graph import Graph

__all__ = ["GRAPH", "SETTINGS", "TOKENIZER", "TextReader", "TextSettings"]

SETTINGS, GRAPH, TOKENIZER = "text.json", "graph.onnx", "tokenizer.json"
WINDOWS = 16  # read at once: bounds the memory of a long batch


class TextSettings(BaseModel):
    """How texts are read: what stands before each, tokens in a window and shared with the next, the id of padding."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prefix: str = Field(max_length=1_000)
    max_length: int = Field(ge=1, le=2**20)
    stride: int = Field(ge=0)
    fill: int = Field(ge=0)
    normalise: bool


class TextReader:
    """What `encoders.TextEncoder` does, by what it left in a folder. Raises ArtefactError where that can't be read."""

    def __init__(self, folder: Path) -> None:
        require("tokenizers", "serve", "a search in words")
        tokenizers = importlib.import_module("tokenizers")
        try:
            self._settings = TextSettings.model_validate_json((folder / SETTINGS).read_text(encoding="utf-8"))
            self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / TOKENIZER))
            self._tokenizer.enable_truncation(self._settings.max_length, stride=self._settings.stride)
            self._tokenizer.no_padding()
        except Exception as error:  # those of tokenizers share no other base
            raise ArtefactError(f"{folder} holds no reader of texts: {error}; export the bundle again") from error
        self._graph = Graph(folder / GRAPH)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, D) float32: of each text the mean of its windows, weighted by their tokens."""
        windows, owners = [], []
        for owner, found in enumerate(self._tokenizer.encode_batch([self._settings.prefix + text for text in texts])):
            for window in (found, *found.overflowing):
                windows.append(window.ids)
                owners.append(owner)
        lengths = np.array([len(window) for window in windows])
        parts = [self._pooled(windows[n : n + WINDOWS]) for n in range(0, len(windows), WINDOWS)]
        weighted = np.concatenate(parts) * lengths[:, None]
        starts = np.searchsorted(owners, np.arange(len(texts)))
        vectors = np.add.reduceat(weighted, starts) / np.add.reduceat(lengths, starts)[:, None]
        if self._settings.normalise:
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=np.finfo(np.float32).tiny)
        return vectors.astype(np.float32)

    def _pooled(self, windows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """(n, D) of windows of token ids."""
        lengths = np.array([len(window) for window in windows])
        mask = np.arange(max(1, lengths.max())) < lengths[:, None]
        ids = np.full(mask.shape, self._settings.fill, np.int64)
        ids[mask] = np.concatenate(windows)
        return self._graph({"ids": ids, "mask": mask.astype(np.int64)})
