"""Texts as vectors: encoders such as MiniLM, E5 and BERT."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from distilrec.data import ModalityKind
from distilrec.encoders.base import Encoder, EncoderConfig, fingerprint_of
from distilrec.encoders.catalogue import cache_home
from distilrec.encoders.places import find_model
from distilrec.encoders.pretrained import finished
from distilrec.errors import ModelError, require
from distilrec.runtime.text import GRAPH, SETTINGS, TOKENIZER, TextSettings

if TYPE_CHECKING:
    from distilrec.encoders.transformer import Forward, Pooled

__all__ = ["Agreement", "TextConfig", "TextEncoder", "agreement"]

OVERLAP = 16  # tokens that a window of a long text shares with the one before it
SAMPLE = 256  # texts by which int8 is compared with float32
NEIGHBOURS = 10
LEAST_COSINE, LEAST_OVERLAP = 0.99, 0.95
NO_LIMIT = 1_000_000  # what tokenizers tell as their longest text is more than this where they don't know

_logger = logging.getLogger(__name__)


class TextConfig(EncoderConfig):
    """A text encoder of transformers.

    model: its folder, as `find_model` takes it. pooling: of token vectors; sentence-transformers and E5 take the mean.
    normalise: vectors to length 1. max_length: tokens in a window; None takes what the model tells. prefix: stands
    before each text; E5 wants `passage: ` or `query: `.
    backend: `auto` runs the model as an ONNX graph where onnxruntime is installed and the model can be exported.
    precision: int8 needs ONNX, and is refused where its vectors differ too much from those in float32.
    batch_size: windows at once; there are fewer where they are long. adapter: a folder that `fine_tune` wrote.
    """

    kind: ClassVar[ModalityKind] = "text"
    encoder: Literal["text"] = "text"
    model: str
    pooling: Literal["mean", "cls"] = "mean"
    normalise: bool = True
    max_length: int | None = Field(default=None, ge=8)
    prefix: str = ""
    backend: Literal["auto", "onnx", "torch"] = "auto"
    precision: Literal["float32", "int8"] = "float32"
    batch_size: int = Field(default=32, ge=1)
    adapter: str | None = None

    @model_validator(mode="after")
    def _int8_is_onnx(self) -> Self:
        if self.precision == "int8" and self.backend == "torch":
            raise ValueError("precision int8 runs in ONNX only; set backend to auto, or precision to float32")
        return self


@dataclass(frozen=True)
class Agreement:
    """How like the vectors in int8 are to those in float32.

    cosine: the smallest of all texts. overlap: of each text's ten nearest others the share that both have; the mean.
    """

    texts: int
    cosine: float
    overlap: float


class TextEncoder(Encoder):
    """A text's vector: of its tokens' last hidden states the mean, or the first.

    A text that is longer than the model reads is cut into windows that overlap by 16 tokens, each of them encoded; its
    vector is their mean, weighted by their tokens. Only the first window begins with the prefix.
    """

    config: TextConfig

    def files(self) -> Sequence[Path]:
        """Settings, tokenizer and weights of the model, and its adapter."""
        from distilrec.encoders.transformer import adapter_files, text_model_files

        return [*text_model_files(self._folder), *adapter_files(self.config.adapter)]

    def encode(self, prepared: Sequence[str]) -> NDArray[np.float32]:
        """(n, D) float32. Raises ModelError where the model can't be used, or int8 strays too far from float32."""
        if self.config.precision == "int8":
            self._check_int8(prepared)
        return self._encoded(prepared)

    def tokens(self, texts: Sequence[str], most: int) -> list[list[int]]:
        """The ids of each text's first tokens, `most` of them or as many as the model reads."""
        texts = [self.config.prefix + text for text in texts]
        most = min(most, self._max_length)
        found: list[list[int]] = self._tokenizer(texts, truncation=True, max_length=most)["input_ids"]
        return found

    def module(self) -> Pooled:
        """The model and its pooling, loaded anew."""
        from distilrec.encoders.transformer import Pooled, load_model

        return Pooled(load_model(self._folder, self.config.adapter), self.config.pooling).eval()

    def leave_reader(self, folder: Path) -> None:
        """Write what `runtime.TextReader` reads: graph, tokenizer, settings. ExportError where there is no graph."""
        shutil.copyfile(self._graph_file(), folder / GRAPH)
        self._tokenizer.backend_tokenizer.save(str(folder / TOKENIZER))
        settings = TextSettings(
            prefix=self.config.prefix,
            max_length=self._max_length,
            stride=self._stride,
            fill=self.fill,
            normalise=self.config.normalise,
        )
        (folder / SETTINGS).write_text(settings.model_dump_json(), encoding="utf-8")

    @property
    def _stride(self) -> int:
        return min(OVERLAP, self._max_length // 4)

    @property
    def fill(self) -> int:
        """The id of padding."""
        return int(self._tokenizer.pad_token_id or 0)

    def _encoded(self, texts: Sequence[str]) -> NDArray[np.float32]:
        from distilrec.encoders.transformer import run

        windows, owners = self._windows(texts)
        vectors = run(windows, self._forward, self.fill, self.config.batch_size)
        weights = np.array([len(window) for window in windows], np.float32)
        starts = np.searchsorted(owners, np.arange(len(texts)))
        sums = np.add.reduceat(vectors * weights[:, None], starts)
        means = sums / np.add.reduceat(weights, starts)[:, None]
        return finished(means.astype(np.float32), self.config.normalise, self.config.model)

    def _windows(self, texts: Sequence[str]) -> tuple[list[list[int]], NDArray[np.int64]]:
        """Token ids of W >= n windows, text by text, and the text of each, (W,) int64."""
        encoded = self._tokenizer(
            [self.config.prefix + text for text in texts],
            truncation=True,
            max_length=self._max_length,
            stride=self._stride,
            return_overflowing_tokens=True,
        )
        return encoded["input_ids"], np.array(encoded["overflow_to_sample_mapping"])

    def _check_int8(self, texts: Sequence[str]) -> None:
        """Compare int8 with float32, unless that was done on as many texts; the result lies beside the graph."""
        sample = list(dict.fromkeys(texts))[:SAMPLE]
        path = self._graph_folder.with_name(f"{self._graph_folder.name}-int8") / "agreement.json"
        if path.is_file() and len(sample) <= json.loads(path.read_text(encoding="utf-8"))["texts"]:
            return
        plain = TextEncoder(self.config.model_copy(update={"precision": "float32", "backend": "onnx"}))
        found = agreement(plain.encode(sample), self._encoded(sample))
        if found.cosine < LEAST_COSINE or found.overlap < LEAST_OVERLAP:
            raise ModelError(
                f"{self.config.model} in int8 strays from float32: on {found.texts} texts the smallest cosine is "
                f"{found.cosine:.4f} (at least {LEAST_COSINE}) and {found.overlap:.3f} of the {NEIGHBOURS} nearest "
                f"stay (at least {LEAST_OVERLAP}); set precision to float32"
            )
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(found)), encoding="utf-8")
        os.replace(partial, path)

    @cached_property
    def _folder(self) -> Path:
        return find_model(self.config.model)

    @cached_property
    def _tokenizer(self) -> Any:
        from distilrec.encoders.transformer import load_tokenizer

        return load_tokenizer(self._folder)

    @cached_property
    def _max_length(self) -> int:
        limits = self._limits()
        if self.config.max_length is None:
            return limits.get("sentence_bert_config.json") or min(limits.values(), default=512)
        positions = limits.get("config.json", NO_LIMIT)
        if self.config.max_length > positions:
            raise ModelError(
                f"{self.config.model} reads at most {positions} tokens, and max_length is {self.config.max_length}; "
                "lower it"
            )
        return self.config.max_length

    def _limits(self) -> dict[str, int]:
        """Tokens that the model reads at most, by the file that tells."""
        settings = json.loads((self._folder / "config.json").read_text(encoding="utf-8"))
        told = {"tokenizer": self._tokenizer.model_max_length}
        if "max_position_embeddings" in settings:
            # RoBERTa and its kin count positions from the one after padding's.
            offset = settings.get("pad_token_id", 0) + 1 if "roberta" in settings.get("model_type", "") else 0
            told["config.json"] = settings["max_position_embeddings"] - offset
        path = self._folder / "sentence_bert_config.json"
        if path.is_file():
            told[path.name] = json.loads(path.read_text(encoding="utf-8")).get("max_seq_length") or NO_LIMIT
        return {name: int(limit) for name, limit in told.items() if limit < NO_LIMIT}

    @cached_property
    def _graph_folder(self) -> Path:
        key = fingerprint_of(f"graph {self.version} {self.config.pooling}", self.files())
        return cache_home() / "graphs" / key

    @cached_property
    def _forward(self) -> Forward:
        from distilrec.encoders.transformer import forward_in_torch

        if self.config.precision == "int8" or self.config.backend == "onnx":
            return self._in_onnx()
        if self.config.backend == "auto" and importlib.util.find_spec("onnxruntime") is not None:
            from distilrec.encoders.onnx_export import ExportError

            try:
                return self._in_onnx()
            except ExportError as error:
                _logger.warning("%s runs in torch, since as ONNX it doesn't: %s", self.config.model, error)
        return forward_in_torch(self.module())

    def _in_onnx(self) -> Forward:
        from distilrec.encoders.onnx_export import session

        return session(self._graph_file())

    def _graph_file(self) -> Path:
        require("onnxruntime", "content", "a text encoder as ONNX")
        from distilrec.encoders.onnx_export import exported, quantised

        graph = exported(self._graph_folder, self.module)
        if self.config.precision == "int8":
            graph = quantised(self._graph_folder.with_name(f"{self._graph_folder.name}-int8"), graph)
        return graph


def agreement(exact: NDArray[np.float32], other: NDArray[np.float32]) -> Agreement:
    """Compare two encodings (n, D) of the same n texts. Of equally near neighbours any counts as found.

    >>> agreement(np.eye(2, dtype=np.float32), np.array([[1, 0], [0.6, 0.8]], np.float32))
    Agreement(texts=2, cosine=0.8, overlap=1.0)
    """
    units = [vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (exact, other)]
    cosine = round(float((units[0] * units[1]).sum(axis=1).min()), 6)
    k = min(NEIGHBOURS, len(exact) - 1)
    if k == 0:
        return Agreement(len(exact), cosine, overlap=1.0)
    near, chosen = (vectors @ vectors.T for vectors in units)
    for each in (near, chosen):
        np.fill_diagonal(each, -np.inf)
    threshold = np.partition(near, -k, axis=1)[:, [-k]] - 1e-6
    places = np.argpartition(chosen, -k, axis=1)[:, -k:]
    overlap = float((np.take_along_axis(near, places, axis=1) >= threshold).mean())
    return Agreement(len(exact), cosine, round(overlap, 6))
