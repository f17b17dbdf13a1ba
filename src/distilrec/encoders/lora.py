"""Fine-tuning of text encoders on what users take one after the other, with adapters of low rank."""

from __future__ import annotations

import importlib
import json
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from distilrec.data import Contents, Interactions
from distilrec.encoders.language_model import LanguageModelConfig, LanguageModelEncoder
from distilrec.encoders.text import TextConfig, TextEncoder
from distilrec.encoders.transformer import ADAPTER_FILES, Pooled, padded, quiet_peft
from distilrec.errors import DataError, ModelError, RecipeError, require
from distilrec.rng import child_seed, generator

__all__ = ["LoRAConfig", "fine_tune", "info_nce", "item_pairs"]


Rows = Mapping[int, list[int]]
Config: TypeAlias = TextConfig | LanguageModelConfig


class LoRAConfig(BaseModel):
    """How a text encoder is fine-tuned.

    rank, alpha, dropout: of the adapter, which changes each linear layer W to W + alpha / rank B A. epochs: passes.
    pairs: most pairs of items in an epoch, drawn anew for each. batch_size: pairs in a step; the others of a batch are
    a pair's negatives. temperature: of their cosines. max_length: tokens of a text that training reads.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = Field(default=8, ge=1)
    alpha: float = Field(default=16.0, gt=0)
    dropout: float = Field(default=0.05, ge=0, lt=1)
    epochs: int = Field(default=1, ge=1)
    pairs: int = Field(default=20_000, ge=2)
    batch_size: int = Field(default=32, ge=2)
    learning_rate: float = Field(default=2e-4, gt=0)
    temperature: float = Field(default=0.05, gt=0)
    max_length: int = Field(default=64, ge=8)


def fine_tune(
    config: Config,
    texts: Contents,
    train: Interactions,
    settings: LoRAConfig,
    folder: Path,
    seed: int,
    on_epoch: Callable[[int, float], None] | None = None,
) -> Config:
    """Train an adapter, write it to `folder`, and return the encoder's settings with it.

    Texts of items that a user of `train` took one after the other are drawn together, and away from the other items of
    their batch. Hu et al., LoRA, ICLR 2022; the loss is `info_nce`. The encoder's own weights stay as they are.
    on_epoch: called with the number of each epoch, from 1, and its mean loss.
    The same seed and number of threads give the same bytes. Raises RecipeError where the settings name an adapter
    already, DataError where no two items with text follow each other, ModelError when the loss is no longer finite.
    """
    if config.adapter is not None:
        raise RecipeError(
            f"fine-tuning: {config.model} comes with the adapter {config.adapter}; start from the model without it"
        )
    require("peft", "content", "fine-tuning an encoder")
    pairs = item_pairs(train, texts.known)
    if len(pairs) < 2:
        raise DataError(
            "fine-tuning: no user took two items with text one after the other; encode the texts without fine-tuning"
        )
    encoder = _encoder(config)
    rows = _token_rows(encoder, texts, np.unique(pairs), settings.max_length)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(child_seed(seed, "adapter"))
        model = encoder.module()
        model.model = _with_adapter(model.model, settings)
        _train(model, pairs, rows, encoder.fill, settings, seed, on_epoch)
    _write(model.model, folder)
    return config.model_copy(update={"adapter": str(folder)})


def item_pairs(train: Interactions, known: NDArray[np.bool_]) -> NDArray[np.int32]:
    """(n, 2) int32: items, both known, that a user took one after the other; pairs of equal ones are left out.

    known: (N,) bool.

    >>> from distilrec.scoring import Ragged
    >>> log = Interactions(Ragged.from_rows([[0, 2, 2, 1], [1]]), n_items=3)
    >>> item_pairs(log, np.ones(3, np.bool_)).tolist()
    [[0, 2], [2, 1]]
    """
    users, items = train.histories.flat()
    pairs = np.column_stack([items[:-1], items[1:]])
    kept = (users[:-1] == users[1:]) & (pairs[:, 0] != pairs[:, 1]) & known[pairs].all(axis=1)
    found: NDArray[np.int32] = pairs[kept]
    return found


def info_nce(first: Tensor, second: Tensor, items: Tensor, temperature: float) -> Tensor:
    """Mean cross-entropy of finding each vector's partner among those of the batch, in both directions.

    first, second: (B, D) vectors of a pair's items. items: (B, 2) int64, which they are. Cosines divided by the
    temperature are the logits. What is one of the pair's own items is no negative of it. van den Oord et al.,
    arXiv:1807.03748, eq. 4, whose density ratio is a bilinear form; both directions as in CLIP.

    >>> vectors = torch.eye(2)
    >>> info_nce(vectors, vectors, torch.tensor([[0, 1], [0, 2]]), 1.0)  # the second pair has item 0, too
    tensor(0.1566)
    """
    logits = F.normalize(first, dim=1) @ F.normalize(second, dim=1).T / temperature  # (B, B)
    partners = torch.arange(len(items))
    other = partners.unsqueeze(1) != partners
    losses = []
    for scores, candidates in ((logits, items[:, 1]), (logits.T, items[:, 0])):
        own = (items.unsqueeze(2) == candidates).any(1)  # (B, 2, 1) == (B,) -> (B, 2, B) -> (B, B)
        losses.append(F.cross_entropy(scores.masked_fill(own & other, -torch.inf), partners))
    return torch.stack(losses).mean()


def _encoder(config: Config) -> TextEncoder | LanguageModelEncoder:
    return TextEncoder(config) if isinstance(config, TextConfig) else LanguageModelEncoder(config)


def _token_rows(
    encoder: TextEncoder | LanguageModelEncoder, texts: Contents, items: NDArray[np.int32], most: int
) -> Rows:
    wanted = np.zeros(len(texts.known), np.bool_)
    wanted[items] = True
    rows: dict[int, list[int]] = {}
    for places, values in texts.blocks():
        kept = np.flatnonzero(wanted[places])
        if len(kept):
            rows |= zip(places[kept].tolist(), encoder.tokens([values[n] for n in kept], most), strict=True)
    return rows


def _batches(pairs: NDArray[np.int32], settings: LoRAConfig, rng: np.random.Generator) -> Iterator[NDArray[np.int32]]:
    drawn = pairs[rng.permutation(len(pairs))[: settings.pairs]]
    for begin in range(0, len(drawn) - 1, settings.batch_size):
        yield drawn[begin : begin + settings.batch_size]


def _train(
    model: Pooled,
    pairs: NDArray[np.int32],
    rows: Rows,
    fill: int,
    settings: LoRAConfig,
    seed: int,
    on_epoch: Callable[[int, float], None] | None,
) -> None:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=settings.learning_rate)
    model.train()
    for number in range(1, settings.epochs + 1):
        torch.manual_seed(child_seed(seed, "dropout", number))
        batches = _batches(pairs, settings, generator(seed, "pairs", number))
        losses = [_step(model, optimizer, batch, rows, fill, settings.temperature) for batch in batches]
        loss = sum(losses) / len(losses)
        if not math.isfinite(loss):
            raise ModelError(
                f"fine-tuning: the loss of epoch {number} is {loss}; lower learning_rate (now {settings.learning_rate})"
            )
        if on_epoch is not None:
            on_epoch(number, loss)


def _step(
    model: Pooled,
    optimizer: torch.optim.Optimizer,
    batch: NDArray[np.int32],
    rows: Rows,
    fill: int,
    temperature: float,
) -> float:
    ids, mask = map(torch.from_numpy, padded([rows[item] for item in batch.T.flatten().tolist()], fill))
    first, second = model(ids, mask).chunk(2)
    loss = info_nce(first, second, torch.from_numpy(batch), temperature)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return float(loss.detach())


def _with_adapter(model: nn.Module, settings: LoRAConfig) -> Any:
    peft = importlib.import_module("peft")
    adapter = peft.LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules="all-linear",
    )
    with quiet_peft():
        return peft.get_peft_model(model, adapter)


def _write(model: Any, folder: Path) -> None:
    """As peft reads it, but with nothing that changes from run to run, such as the order of sets."""
    peft = importlib.import_module("peft")
    config = {**model.peft_config["default"].to_dict(), "inference_mode": True, "base_model_name_or_path": None}
    config = {name: sorted(value) if isinstance(value, set) else value for name, value in config.items()}
    weights = {name: value.contiguous() for name, value in peft.get_peft_model_state_dict(model).items()}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as own:
        ready = Path(own) / folder.name
        ready.mkdir()
        (ready / ADAPTER_FILES[0]).write_text(json.dumps(config, indent=1, sort_keys=True), encoding="utf-8")
        save_file(weights, ready / ADAPTER_FILES[1])
        shutil.rmtree(folder, ignore_errors=True)
        ready.replace(folder)
