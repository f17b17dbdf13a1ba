"""Ranking distillation."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from distilrec.data import Interactions
from distilrec.distillation.method import Method, Setting, Step, Term
from distilrec.distillation.ranks import estimated_ranks, sampled_items, told_items
from distilrec.losses.pointwise import weighted_log_sigmoid

__all__ = ["RD"]


class RD(Method):
    """The teacher's best items are positives, most of all the first ones, and those that the student ranks too low.

    -sum_r w_r log sigma(s_r) over the teacher's best `items`, w_r ~ exp(-r / sharpness), adding up to 1; after `warmup`
    epochs times max(0, tanh(mu (rank - r))), rank being the student's, from 0 as r. It has no negatives: those are the
    true labels' to bring. sharpness: in places. mu: per place. sampled: items from which the student's ranks are
    estimated.

    Source: Tang and Wang, KDD 2018, and their code (K 10, lambda 1, mu 0.1, from epoch 11 on).
    Deviations: ranks come from `sampled` items that are drawn at each step for all queries (theirs: 100 for each query
    and epoch), so that a rank is known to the nearest N / sampled, and aren't rounded down.
    """

    method: Literal["rd"] = "rd"
    items: int = Field(default=10, ge=1)
    sharpness: float = Field(default=1.0, gt=0)
    mu: float = Field(default=0.1, gt=0)
    warmup: int = Field(default=10, ge=0)
    sampled: int = Field(default=500, ge=1)

    @property
    def listed(self) -> int:
        """The positives."""
        return self.items

    def term(self, setting: Setting) -> Term:
        """See `Method.term`."""
        return _Term(self, setting.log)


class _Term(Term):
    def __init__(self, method: RD, log: Interactions) -> None:
        super().__init__()
        self.method, self.log = method, log

    def forward(self, step: Step) -> Tensor:
        method = self.method
        items, _, mask = step.soft.best(method.items)
        scores = step.scores(items)
        weights = place_weights(method.items, method.sharpness)[: items.shape[1]].to(scores.device).expand_as(scores)
        if step.epoch > method.warmup:
            _, others = sampled_items(step, self.log, method.sampled)
            ranks = estimated_ranks(scores.detach(), others, len(told_items(step.labels)))
            weights = weights * discrepancy(ranks, method.mu)
        return weighted_log_sigmoid(scores, weights, mask, weights=step.weights)


def place_weights(n: int, sharpness: float) -> Tensor:
    """(n,), adding up to 1: proportional to exp(-place / sharpness)."""
    return (-torch.arange(n) / sharpness).softmax(0)


def discrepancy(ranks: Tensor, mu: float) -> Tensor:
    """In [0, 1): max(0, tanh(mu (rank - place))) of ranks (B, C), from 0, in the teacher's order."""
    return (mu * (ranks - torch.arange(ranks.shape[1], device=ranks.device))).tanh().clamp(min=0)
