"""What encoders of text share: models of transformers loaded, run in batches with little padding, and pooled."""

from __future__ import annotations

import importlib
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn

from distilrec.encoders.pretrained import model_files, quiet
from distilrec.errors import ModelError, require

__all__ = [
    "Forward",
    "Pooled",
    "Pooling",
    "adapter_files",
    "by_length",
    "forward_in_torch",
    "load_model",
    "load_tokenizer",
    "padded",
    "quiet_peft",
    "run",
    "text_model_files",
]

Pooling: TypeAlias = Literal["mean", "cls", "last"]
Forward: TypeAlias = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]

TOKENS = 256  # padding included, in a batch; 1024 no longer fit a CPU's cache, and took 1.2 times as long
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


class Pooled(nn.Module):
    """Token ids and mask (b, L) int64 -> vectors (b, D): the model's last hidden states, pooled over real tokens.

    mean: of all. cls: the first. last: the last one; padding stands on the right.
    """

    def __init__(self, model: nn.Module, pooling: Pooling) -> None:
        super().__init__()
        self.model, self.pooling = model, pooling

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(b, D)."""
        hidden: Tensor = self.model(input_ids=ids, attention_mask=mask).last_hidden_state  # (b, L, D)
        if self.pooling == "cls":
            return hidden[:, 0]
        if self.pooling == "last":
            return hidden[torch.arange(len(hidden)), mask.sum(1) - 1]
        weights = mask.unsqueeze(-1).to(hidden.dtype)  # (b, L, 1)
        return (hidden * weights).sum(1) / weights.sum(1)


def load_tokenizer(folder: Path, gguf_file: str | None = None) -> Any:
    """The tokenizer in a model's folder. Raises ModelError where there is none, or only a slow one."""
    require("transformers", "content", "a language model")
    transformers = importlib.import_module("transformers")
    try:
        with quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **_options(gguf_file))
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise ModelError(f"{folder} holds no tokenizer that can be loaded ({error}); get its files anew") from error
    if not tokenizer.is_fast:
        raise ModelError(f"{folder}: its tokenizer has no tokenizer.json; name a model that has one")
    return tokenizer


def load_model(folder: Path, adapter: str | None = None, gguf_file: str | None = None) -> nn.Module:
    """The model in a folder, in float32, without its head, and with an adapter of LoRA merged into it.

    Raises ModelError where it can't be loaded, lacks weights, or has a decoder beside its encoder.
    """
    require("transformers", "content", "a language model")
    transformers = importlib.import_module("transformers")
    try:
        with quiet(), redirect_stderr(io.StringIO()):  # the bar of GGUF files isn't transformers' own
            model, info = transformers.AutoModel.from_pretrained(
                folder, dtype=torch.float32, output_loading_info=True, **_options(gguf_file)
            )
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
        raise ModelError(f"{folder} can't be loaded by transformers ({error}); name another model") from error
    untrained = sorted(name for name in info["missing_keys"] if "pooler" not in name)
    if untrained:
        raise ModelError(f"{folder} lacks weights of {', '.join(untrained[:3])}; get the model's files anew")
    if model.config.is_encoder_decoder:
        raise ModelError(f"{folder} holds a {type(model).__name__}, which has a decoder, too; name another model")
    model.config.use_cache = False
    found: nn.Module = model if adapter is None else _merged(model, adapter)
    return found


def text_model_files(folder: Path) -> list[Path]:
    """The files in a model's folder on which vectors of texts depend."""
    return [*model_files(folder), *(path for path in sorted(folder.iterdir()) if path.suffix in (".txt", ".model"))]


def adapter_files(adapter: str | None) -> list[Path]:
    """The files of an adapter, none for None. Raises ModelError where they aren't there."""
    if adapter is None:
        return []
    paths = [Path(adapter) / name for name in ADAPTER_FILES]
    for path in paths:
        if not path.is_file():
            raise ModelError(f"the adapter {adapter} lacks {path.name}; name the folder that fine-tuning wrote")
    return paths


def forward_in_torch(model: Pooled) -> Forward:
    """Run a model on arrays."""

    def forward(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        with torch.inference_mode():
            vectors: NDArray[np.float32] = model(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
        return vectors

    return forward


def run(rows: Sequence[Sequence[int]], forward: Forward, fill: int, most: int) -> NDArray[np.float32]:
    """(n, D) float32: what `forward` makes of n rows of token ids.

    fill: the id of padding. most: rows in a batch.
    """
    order, parts = [], []
    for batch in by_length([len(row) for row in rows], most):
        parts.append(forward(*padded([rows[place] for place in batch], fill)))
        order += batch
    sorted_vectors = np.concatenate(parts)
    vectors = np.empty_like(sorted_vectors)
    vectors[order] = sorted_vectors
    return vectors


def by_length(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Places of rows, the shortest first, in batches of at most `most` rows and, unless one alone has more, 256 tokens.

    >>> list(by_length([200, 5, 60, 6], most=2))
    [[1, 3], [2], [0]]
    """
    batch: list[int] = []
    for place in np.argsort(lengths, kind="stable").tolist():
        if batch and (len(batch) == most or (len(batch) + 1) * lengths[place] > TOKENS):
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def padded(rows: Sequence[Sequence[int]], fill: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Token ids and mask, (b, L) int64 each, of rows of different lengths.

    >>> padded([[7, 8], [9]], fill=0)
    (array([[7, 8],
           [9, 0]]), array([[1, 1],
           [1, 0]]))
    """
    lengths = np.array([len(row) for row in rows])
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids = np.full(mask.shape, fill, np.int64)
    ids[mask] = np.concatenate(rows)
    return ids, mask.astype(np.int64)


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Without what peft warns of and puts right itself (GPT-2's layers), and what it still asks of transformers."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "fan_in_fan_out is set to False", UserWarning)
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield


def _options(gguf_file: str | None) -> dict[str, Any]:
    safe = {"local_files_only": True, "trust_remote_code": False}
    return safe if gguf_file is None else {**safe, "gguf_file": gguf_file}


def _merged(model: nn.Module, adapter: str) -> Any:
    adapter_files(adapter)
    require("peft", "content", "an adapter")
    peft = importlib.import_module("peft")
    try:
        with quiet_peft():
            return peft.PeftModel.from_pretrained(model, adapter).merge_and_unload()
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise ModelError(f"the adapter {adapter} doesn't fit the model ({error}); fine-tune this model") from error
