"""The one training loop: early stopping, checkpoints, progress. Losses and data are handed in."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from distilrec.errors import ArtefactError, ModelError
from distilrec.metrics import Metric
from distilrec.ranking import AUC
from distilrec.rng import child_seed, generator

__all__ = ["Epoch", "TrainingConfig", "train"]

log = logging.getLogger(__name__)

B = TypeVar("B")

CHECKPOINT_SECONDS = 20.0


class TrainingConfig(BaseModel):
    """How long and how fast to train; the same fields for teachers, students and joint training.

    metric: what validation measures, and training stops by; a name such as `ndcg@10`.
    epochs: most passes over the data. patience: stop after so many validations without a better one.
    evaluate_every: epochs between validations. learning_rate, weight_decay: of AdamW.
    batch_size: users, windows or interactions per step, whichever the model's batches are made of.
    warmup_steps: steps over which the learning rate rises from 0. decay: whether it falls from epoch to epoch, by
    1 / epochs of itself at the start; then `epochs` is a setting to choose with care, not just an upper limit.
    average: decay of the exponential moving average of the weights, begun at the first ones, that is validated and
    kept, in [0, 1); 0 keeps the raw weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str = "ndcg@10"
    epochs: int = Field(default=100, ge=1)
    patience: int = Field(default=10, ge=1)
    evaluate_every: int = Field(default=1, ge=1)
    batch_size: int = Field(default=256, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    warmup_steps: int = Field(default=0, ge=0)
    decay: bool = False
    average: float = Field(default=0.0, ge=0, lt=1)

    @field_validator("metric")
    @classmethod
    def _is_a_metric(cls, name: str) -> str:
        if name != AUC:
            Metric.parse(name)
        return name


@dataclass(frozen=True)
class Epoch:
    """What one pass gave: mean losses by name ("loss" is their total), and validation quality if measured."""

    number: int
    losses: Mapping[str, float]
    validation: float | None
    seconds: float


@dataclass
class _State:
    """All that a resumed training needs."""

    modules: nn.Module
    optimizer: torch.optim.Optimizer
    average: dict[str, Tensor]
    best: dict[str, Tensor]
    best_validation: float = -math.inf
    epochs: list[Epoch] = field(default_factory=list)

    def waited(self) -> int:
        """Validations since the best one."""
        scores = [epoch.validation for epoch in self.epochs if epoch.validation is not None]
        return len(scores) - 1 - int(np.argmax(scores)) if scores else 0


def train(
    modules: nn.Module,
    *,
    batches: Callable[[np.random.Generator], Iterable[B]],
    loss: Callable[[B, np.random.Generator], Mapping[str, Tensor]],
    validate: Callable[[], float],
    config: TrainingConfig,
    seed: int,
    checkpoint: Path | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_weights: Callable[[int, Mapping[str, Tensor]], None] | None = None,
) -> list[Epoch]:
    """Train `modules` until validation stops improving, and leave them with their best weights.

    batches: makes one epoch's batches from a generator. loss: gives the parts of a batch's loss by name; the
    part "loss" is minimised. validate: quality, higher is better, of the modules as they are.
    checkpoint: a file from which an interrupted training goes on at its last saved epoch, to the same bytes
    that an uninterrupted one gives; it is removed by whoever made the folder. on_epoch: called after each
    epoch, those before an interruption included. on_weights: called with the number of each epoch and the weights
    after it (their average, where that is kept), before a checkpoint can make it one of those that aren't done again.

    Everything random, dropout too, follows from `seed` and the epoch's number; the global generators are
    left as they were. Raises ModelError when the loss is no longer finite, ArtefactError when the checkpoint
    is damaged or of another model.
    """
    optimizer = torch.optim.AdamW(
        [p for p in modules.parameters() if p.requires_grad],
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        fused=True,
    )
    state = _State(modules, optimizer, _copy(modules), _copy(modules))
    if checkpoint is not None and checkpoint.exists():
        _load(state, checkpoint)
        for epoch in state.epochs:
            _report(epoch, on_epoch)
    saved = time.monotonic()
    while len(state.epochs) < config.epochs and state.waited() < config.patience:
        epoch = _epoch(state, len(state.epochs) + 1, batches, loss, validate, config, seed)
        state.epochs.append(epoch)
        if on_weights is not None:
            on_weights(epoch.number, state.average if config.average else _copy(modules))
        _report(epoch, on_epoch)
        if checkpoint is not None and time.monotonic() - saved > CHECKPOINT_SECONDS:
            _save(state, checkpoint)
            saved = time.monotonic()
    modules.load_state_dict(state.best)
    modules.eval()
    return state.epochs


def _epoch(
    state: _State,
    number: int,
    batches: Callable[[np.random.Generator], Iterable[B]],
    loss: Callable[[B, np.random.Generator], Mapping[str, Tensor]],
    validate: Callable[[], float],
    config: TrainingConfig,
    seed: int,
) -> Epoch:
    begin = time.monotonic()
    rng = generator(seed, "epoch", number)
    sums: dict[str, Tensor] = {}
    steps = 0
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(child_seed(seed, "dropout", number))
        state.modules.train()
        for batch in batches(rng):
            steps += 1
            _step(state, loss(batch, rng), sums, config, _learning_rate(config, number, state.optimizer))
    if steps == 0:
        raise ModelError(f"Training of {type(state.modules).__name__}: there is nothing to learn from; no batch came")
    losses = {name: float(value) / steps for name, value in sums.items()}
    if not all(math.isfinite(value) for value in losses.values()):
        raise ModelError(
            f"Training of {type(state.modules).__name__}: the loss of epoch {number} is {losses}, "
            f"not finite; lower learning_rate (now {config.learning_rate})"
        )
    validation = None
    if number % config.evaluate_every == 0 or number == config.epochs:
        validation = _validate(state, validate, config)
    return Epoch(number, losses, validation, time.monotonic() - begin)


def _learning_rate(config: TrainingConfig, number: int, optimizer: torch.optim.Optimizer) -> float:
    """The learning rate of the next step in epoch `number`, counted from 1."""
    rate = config.learning_rate
    if config.decay:
        rate *= 1 - (number - 1) / config.epochs
    if config.warmup_steps:
        rate *= min(1.0, (_steps_done(optimizer) + 1) / config.warmup_steps)
    return rate


def _step(
    state: _State,
    parts: Mapping[str, Tensor],
    sums: dict[str, Tensor],
    config: TrainingConfig,
    learning_rate: float,
) -> None:
    state.optimizer.zero_grad(set_to_none=True)
    parts["loss"].backward()  # type: ignore[no-untyped-call]
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate
    state.optimizer.step()
    if config.average:
        with torch.no_grad():
            for name, value in state.modules.state_dict().items():
                if value.is_floating_point():
                    state.average[name].lerp_(value, 1 - config.average)
    for name, value in parts.items():
        sums[name] = sums.get(name, torch.zeros(())) + value.detach()


def _steps_done(optimizer: torch.optim.Optimizer) -> int:
    return max((int(entry["step"]) for entry in optimizer.state.values()), default=0)


def _validate(state: _State, validate: Callable[[], float], config: TrainingConfig) -> float:
    """Quality of the weights that would be kept, which become the best if no earlier ones were as good."""
    raw = _copy(state.modules) if config.average else None
    if raw is not None:
        state.modules.load_state_dict(state.average)
    state.modules.eval()
    quality = validate()
    if math.isnan(quality):
        raise ModelError("Validation gave no number; is there any validation query?")
    if quality > state.best_validation:
        state.best_validation, state.best = quality, _copy(state.modules)
    if raw is not None:
        state.modules.load_state_dict(raw)
    return quality


def _copy(modules: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in modules.state_dict().items()}


def _report(epoch: Epoch, on_epoch: Callable[[Epoch], None] | None) -> None:
    if on_epoch is not None:
        on_epoch(epoch)


def _save(state: _State, path: Path) -> None:
    tensors = {f"now/{name}": value for name, value in _copy(state.modules).items()}
    tensors |= {f"best/{name}": value for name, value in state.best.items()}
    tensors |= {f"average/{name}": value for name, value in state.average.items()}
    for place, entry in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{place}/{name}": value for name, value in entry.items()}
    notes = {
        "best_validation": state.best_validation,
        "epochs": [asdict(epoch) for epoch in state.epochs],
    }
    # The notes go into the same file, as bytes, so that both are put in place at once.
    tensors["notes"] = torch.tensor(list(json.dumps(notes).encode()), dtype=torch.uint8)
    partial = path.with_suffix(".partial")
    save_file({name: value.contiguous() for name, value in tensors.items()}, partial)
    partial.replace(path)


def _load(state: _State, path: Path) -> None:
    try:
        tensors = load_file(path)
        notes = json.loads(tensors.pop("notes").numpy().tobytes())
        groups: dict[str, dict[str, Tensor]] = {"now": {}, "best": {}, "average": {}, "optimizer": {}}
        for name, value in tensors.items():
            group, rest = name.split("/", 1)
            groups[group][rest] = value
        state.modules.load_state_dict(groups["now"])
        optimizer = state.optimizer.state_dict()
        entries: dict[int, dict[str, Tensor]] = {}
        for name, value in groups["optimizer"].items():
            place, key = name.split("/")
            entries.setdefault(int(place), {})[key] = value
        state.optimizer.load_state_dict(optimizer | {"state": entries})
        state.best, state.average = groups["best"], groups["average"]
        state.best_validation = notes["best_validation"]
        state.epochs = [Epoch(**epoch) for epoch in notes["epochs"]]
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ArtefactError(f"The checkpoint {path} can't be read ({error}); delete it to train anew") from error
    log.info("resumed at epoch %d from %s", len(state.epochs), path)
