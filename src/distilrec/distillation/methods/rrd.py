"""Relaxed ranking distillation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from distilrec.distillation.draw import as_lists, places_by_rank
from distilrec.distillation.method import Method, Need, Setting, Step, Term
from distilrec.losses.ranking import plackett_luce

__all__ = ["RRD"]


class ListSettings(Method):
    """Settings of a loss over the teacher's lists: those of RRD."""

    pooled: ClassVar[Mapping[str, str]] = {"interesting": "pool"}

    interesting: int = Field(default=40, ge=1)
    uninteresting: int = Field(default=40, ge=0)
    pool: int = Field(default=100, ge=1)
    sharpness: float = Field(default=10.0, gt=0)

    @property
    def listed(self) -> int:
        """The pool."""
        return self.pool

    @property
    def needs(self) -> tuple[Need, ...]:  # type: ignore[override]
        """Items that aren't listed, where some are drawn."""
        return ("unlisted",) if self.uninteresting else ()


class RRD(ListSettings):
    """The teacher's order of some of its best items, and that they come before others.

    interesting: K, ranked items, drawn anew at each step from the teacher's best `pool` with probability proportional
    to exp(-rank / sharpness), without replacement; `pool` = `interesting` takes them all, without drawing, which its
    authors later found to be better (the README of their code).
    uninteresting: items drawn from the store's sample of those not listed; they come below in any order.

    Source: Kang, Hwang, Kweon and Yu, DE-RRD, CIKM 2020, and its code, whose defaults these are but for `pool`.
    Deviations from the code: the pool is 100 items, not 500, which the store would have to list; with the other
    defaults one list in 75 would have an item from beyond. Items are drawn at each step, not once an epoch.
    Uninteresting items come from the store's fixed sample of those that it doesn't list, not from all that are neither
    taken nor in the pool. The loss is a mean over queries and over places, where theirs is a sum over both, times
    lambda of 1e-3, beside a base loss that is a sum over interactions.
    """

    method: Literal["rrd"] = "rrd"

    def term(self, setting: Setting) -> Term:
        """See `Method.term`."""
        return _Term(self)


class _Term(Term):
    def __init__(self, method: RRD) -> None:
        super().__init__()
        self.method = method

    def forward(self, step: Step) -> Tensor:
        return list_loss(step, self.method)[0]


def list_loss(step: Step, settings: ListSettings) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of RRD, and which items entered it: (P, C) int64, and a mask (P, C) bool."""
    soft = as_lists(step.soft, settings.listed, settings.uninteresting, step.rng)
    pool = soft.mask[:, : settings.listed]
    chosen = places_by_rank(pool, settings.interesting, settings.sharpness, step.rng)
    others = torch.from_numpy(step.rng.permutation(soft.tail_items.shape[1])[: settings.uninteresting])
    others = others.to(soft.items.device)
    items = torch.cat([soft.items.gather(1, chosen), soft.tail_items[:, others]], dim=1)
    scores = torch.cat([soft.scores.gather(1, chosen), soft.tail_scores[:, others]], dim=1)
    mask = torch.cat([soft.mask.gather(1, chosen), soft.tail_mask[:, others]], dim=1)
    loss = plackett_luce(step.scores(items), scores, mask, listed=settings.interesting, weights=step.weights)
    return loss, items, mask
