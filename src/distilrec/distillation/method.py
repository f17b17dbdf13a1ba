"""What a distillation method is: settings that make a term of the student's loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from distilrec.data import Batch, Interactions
from distilrec.errors import SoftLabelError
from distilrec.models import DotProductModel, look_up, pair_scores
from distilrec.rng import child_seed
from distilrec.soft_labels import Kind, SoftBatch, SoftLabels

__all__ = ["Method", "Need", "Schedule", "Setting", "Step", "Supply", "Term"]

Need: TypeAlias = Literal[
    "lists",
    "scores",
    "hidden",
    "item_vectors",
    "users",
    "others",
    "unlisted",
    "members",
    "checkpoints",
    "targets",
    "temperature",
]

_CURES: dict[Need, str] = {
    "lists": "record a longer list with `record: {k: ...}`",
    "scores": "record the teacher with `record: {kind: factored}`, or `full` for a small catalogue",
    "hidden": "record the teacher with `record: {hidden: true}`, if it has hidden states",
    "item_vectors": "record the teacher with `record: {kind: factored}`, if it has vectors",
    "users": "distil into a model that looks users up, such as matrix_factorization",
    "others": "record some with `record: {tail: 100}`, a k of fewer items than there are, and not with kind full",
    "unlisted": "record some with `record: {tail: 100}`",
    "members": "record them with `record: {members: true}`, or give `members` to `distil`",
    "checkpoints": "record some with `record: {members: true, checkpoints: 3}`, of members that are trained by steps",
    "temperature": "let `record: {temperatures: ...}` hold 1",
    "targets": "record with `record: {filter_seen: false}`, or distil into a model that reads histories",
}


class Schedule(BaseModel):
    """A factor on a method's weight: `first` until epoch `begin`, and from there in `epochs` equal steps to `last`.

    Epochs count from 1.

    >>> [Schedule(first=0, last=1, begin=1, epochs=2).at(epoch) for epoch in (1, 2, 3, 4)]
    [0.0, 0.5, 1.0, 1.0]
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    first: float = Field(default=0.0, ge=0)
    last: float = Field(default=1.0, ge=0)
    begin: int = Field(default=1, ge=1)
    epochs: int = Field(default=1, ge=1)

    def at(self, epoch: int) -> float:
        """The factor in this epoch."""
        done = min(max((epoch - self.begin) / self.epochs, 0.0), 1.0)
        return self.first + done * (self.last - self.first)


@dataclass(frozen=True, eq=False)
class Setting:
    """What a method is set up for: the student to train, its training log, the teacher's store, and a seed.

    members: of the teacher, by name: the recordings of each, from its earliest checkpoint to the finished model.
    """

    student: DotProductModel
    log: Interactions
    labels: SoftLabels
    seed: int
    members: Mapping[str, tuple[SoftLabels, ...]] = field(default_factory=dict)

    def module(self, name: str, make: type[nn.Module], *sizes: int, **options: Any) -> nn.Module:
        """A module whose first weights follow from the setting's seed and `name` alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(child_seed(self.seed, name))
            return make(*sizes, **options)


@dataclass(eq=False)
class Step:
    """One training step, as a method's term sees it.

    batch: P queries and their targets. hidden: (P, D), the student's states of the queries, with gradients. rows:
    (P,) int64, of each query in the store, -1 where it isn't recorded. soft: what the store says of them. weights: (P,)
    float32, what each query weighs in a mean over queries; 1 where the log has no sample weights. epoch: from 1. rng:
    for whatever the term draws. members: as in the setting.
    """

    student: DotProductModel
    labels: SoftLabels
    batch: Batch
    hidden: Tensor
    rows: NDArray[np.int64]
    soft: SoftBatch
    weights: Tensor
    epoch: int
    rng: np.random.Generator
    members: Mapping[str, tuple[SoftLabels, ...]] = field(default_factory=dict)

    def recorded(self, labels: SoftLabels) -> SoftBatch:
        """What a recording says of the batch's queries; all masked where it doesn't hold them."""
        return labels.batch(labels.rows(self.batch.query_ids)).to(self.hidden.device)

    @cached_property
    def item_vectors(self) -> Tensor:
        """(N, D): the student's item vectors, with gradients."""
        return self.student.item_vectors()

    @cached_property
    def items(self) -> Tensor:
        """(I,) int64, ascending: the items that the batch is to find and the teacher knows, each once."""
        items = np.unique(self.batch.items)
        return self.student.tensor(items[items < self.labels.manifest.n_items])

    def scores(self, items: Tensor) -> Tensor:
        """(P, C): the student's scores of items (P, C) int64, with gradients."""
        rows = torch.arange(len(items), device=items.device)
        scores = pair_scores(self.hidden, self.item_vectors, rows, items)
        bias = self.student.item_bias()
        return scores if bias is None else scores + look_up(bias, items)

    def teacher_scores(self, items: Tensor) -> Tensor:
        """(P, C): the teacher's scores of items (P, C) int64; 0 for queries that weren't recorded. Needs "scores"."""
        known = self.rows >= 0
        found = torch.zeros(items.shape, device=items.device)
        scores = self.labels.scores(self.rows[known], items.cpu().numpy()[known])
        found[torch.from_numpy(known).to(items.device)] = scores.to(items.device)
        return found


@dataclass(frozen=True)
class Supply:
    """What a method finds: in the stores, and in its student.

    k: length of the shortest lists. others: whether there is a sample of items that aren't listed. whole: whether each
    store tells of all items, by its kind, by a sample, or because its lists are as long as the catalogue. temperature:
    whether the log-sum-exp is known at the fitted temperature itself. hidden, members, checkpoints: whether they are
    recorded. filter_seen: whether recordings left out what a query has seen. reads_histories: of the student.
    """

    kind: Kind
    k: int
    others: bool
    whole: bool
    temperature: bool
    hidden: bool
    filter_seen: bool
    members: bool
    checkpoints: bool
    reads_histories: bool


class Term(nn.Module, ABC):
    """A method's share of the loss. It may hold weights of its own, which training needs and serving doesn't.

    What it must remember between epochs is a buffer, so that an interrupted training goes on to the same bytes.
    """

    @abstractmethod
    def forward(self, step: Step) -> Tensor:
        """A scalar: a mean over queries, items or pairs, so that the weight carries over between batch sizes.

        Queries count in it as their sample weights say, `step.weights`.
        """


class Method(BaseModel, ABC):
    """Settings of a distillation method; its own class adds fields and a `method` name.

    weight: lambda, of the method's term in the student's loss. schedule: a factor on it, by epoch.
    A class also says what it `needs`, and in `pooled` which of its numbers are drawn from which, and can't be more.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    needs: ClassVar[tuple[Need, ...]] = ()
    pooled: ClassVar[Mapping[str, str]] = {}

    weight: float = Field(default=1.0, ge=0)
    schedule: Schedule | None = None

    @model_validator(mode="after")
    def _pools_suffice(self) -> Self:
        for name, pool in self.pooled.items():
            drawn, of = getattr(self, name), getattr(self, pool)
            if drawn > of:
                raise ValueError(f"{name}, {drawn}, can't be more than {pool}, {of}")
        return self

    @property
    def name(self) -> str:
        """As in recipes."""
        return str(getattr(self, "method", type(self).__name__))

    @property
    def listed(self) -> int:
        """How many items of the teacher's list the method reads, at least."""
        return 1

    @abstractmethod
    def term(self, setting: Setting) -> Term | None:
        """The term of the loss for a student and a store; None where the training loop has it built in."""

    def weight_at(self, epoch: int) -> float:
        """The weight in this epoch, counted from 1."""
        return self.weight * (1.0 if self.schedule is None else self.schedule.at(epoch))

    def lacking(self, supply: Supply) -> str | None:
        """What the method misses, and what to do; None if nothing."""
        lacks: dict[Need, bool] = {
            "lists": supply.k < self.listed,
            "scores": supply.kind == "topk",
            "others": not supply.others,
            "unlisted": not supply.whole,
            "temperature": not supply.temperature,
            "hidden": not supply.hidden,
            "item_vectors": supply.kind != "factored",
            "users": supply.reads_histories,
            "members": not supply.members,
            "checkpoints": not supply.checkpoints,
            "targets": supply.filter_seen and not supply.reads_histories,
        }
        wanted: dict[Need, str] = {
            "lists": f"lists of {self.listed} items, not {supply.k}",
            "scores": "the teacher's score of any item",
            "others": "items that the teacher didn't list",
            "unlisted": "items beside those that the teacher listed",
            "temperature": "the log-sum-exp of scores at the fitted temperature",
            "hidden": "the teacher's hidden states",
            "item_vectors": "the teacher's item vectors",
            "users": "a student that looks users up",
            "members": "recordings of the teacher's members",
            "checkpoints": "earlier checkpoints of a member",
            "targets": "recordings of what the true labels ask for, and these left out what a user has seen",
        }
        for need in (*self.needs, "lists"):
            if lacks[need]:
                return f"the method {self.name!r} needs {wanted[need]}; {_CURES[need]}"
        return None

    def check(self, setting: Setting) -> None:
        """Raise SoftLabelError when stores or student lack what the method needs."""
        stores = [setting.labels]
        if "members" in self.needs:
            stores += [store for recordings in setting.members.values() for store in recordings]
        manifests = [store.manifest for store in stores]
        supply = Supply(
            kind=manifests[0].kind,
            # A list can't be longer than the catalogue.
            k=min((m.k for m in manifests if m.kind != "full" and m.k < m.n_items), default=self.listed),
            others=manifests[0].tail > 0,
            whole=all(m.kind == "full" or m.tail > 0 or m.k >= m.n_items for m in manifests),
            temperature=any(abs(t - manifests[0].temperature) <= 1e-6 * t for t in manifests[0].temperatures),
            hidden=manifests[0].width is not None,
            filter_seen=all(m.filter_seen for m in manifests),
            members=bool(setting.members),
            checkpoints=any(len(recordings) > 1 for recordings in setting.members.values()),
            reads_histories=setting.student.reads_histories,
        )
        lacking = self.lacking(supply)
        if lacking is not None:
            raise SoftLabelError(f"{setting.labels.path}: {lacking}")
