"""The recall that the teacher expects."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from distilrec.data import Interactions
from distilrec.distillation.method import Method, Need, Setting, Step, Term
from distilrec.distillation.ranks import among, best_items
from distilrec.losses.top_k import missed_recall

__all__ = ["ExpectedRecall"]


class ExpectedRecall(Method):
    """The teacher's probability of what the student doesn't put among its `k` best: the recall@k that it misses.

    sum over the teacher's list of p (1 - x), with p the teacher's probability at the store's temperature, and x how far
    the item is among the student's k best: sigmoid((s - threshold) / softness), which adds up to k over the student's
    best `pool` and the teacher's list. Nothing is asked of the order within the k, nor of items far from the
    threshold, so a student that can't have all of the teacher's distribution keeps what will be seen. For the same
    reason it can't begin alone: it needs true labels or `kl` beside it, `kl` at a tenth of its weight or so.

    At each step all items are scored, without gradients, and the best `pool`, more than k, are found, as in `rce_kd`;
    a store of kind `full` lists them all.

    Source: this project; `distilrec.losses.top_k.missed_recall`. docs/experiments.md, 2026-11-26, says what it gives.
    """

    needs: ClassVar[tuple[Need, ...]] = ("temperature",)

    method: Literal["expected_recall"] = "expected_recall"
    weight: float = Field(default=10.0, ge=0)
    k: int = Field(default=50, ge=1)
    pool: int = Field(default=200, ge=1)
    softness: float = Field(default=0.5, gt=0)

    @model_validator(mode="after")
    def _there_is_a_choice(self) -> Self:
        if self.pool <= self.k:
            raise ValueError(
                f"expected_recall: {self.k} of a pool of {self.pool} is no choice; make pool larger than k"
            )
        return self

    def term(self, setting: Setting) -> Term:
        """See `Method.term`."""
        return _Term(self, setting.log)


class _Term(Term):
    def __init__(self, method: ExpectedRecall, log: Interactions) -> None:
        super().__init__()
        self.method, self.log = method, log

    def forward(self, step: Step) -> Tensor:
        method, soft = self.method, step.soft
        temperature = step.labels.temperature
        p = (soft.scores / temperature - soft.log_sum_exp_at(temperature).unsqueeze(1)).exp().masked_fill(~soft.mask, 0)
        items, mask = soft.items, soft.mask
        if soft.ranked:
            best, best_mask = best_items(step, self.log, method.pool)
            # What is on the list already isn't a candidate twice.
            mask = torch.cat([mask, best_mask & ~among(best, items, mask)], dim=1)
            items = torch.cat([items, best], dim=1)
            p = torch.cat([p, p.new_zeros(best.shape)], dim=1)
        return missed_recall(step.scores(items), p, mask, method.k, temperature=method.softness, weights=step.weights)
