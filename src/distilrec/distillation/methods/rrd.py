"""Relaxed ranking distillation."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from distilrec.distillation.method import Method, Setting, Step, Term
from distilrec.losses.ranking import plackett_luce

__all__ = ["RRD"]


class RRD(Method):
    """The teacher's order of some of its best items, and that they come before others.

    interesting: K, ranked items, drawn anew at each step from the teacher's best `pool` with probability proportional
    to exp(-rank / sharpness), without replacement; `pool` = `interesting` takes them all, without drawing.
    uninteresting: items drawn from the store's sample of those not listed; they come below in any order.

    Source: Kang, Hwang, Kweon and Yu, DE-RRD, CIKM 2020, section 3.2.
    Deviations: items are drawn at each step, not once an epoch, and uninteresting ones from the store's fixed sample.
    The loss is a mean over queries and places (theirs: a sum over both, times lambda of 1e-3).
    """

    method: Literal["rrd"] = "rrd"
    interesting: int = Field(default=40, ge=1)
    uninteresting: int = Field(default=40, ge=0)
    pool: int = Field(default=100, ge=1)
    sharpness: float = Field(default=10.0, gt=0)

    @property
    def listed(self) -> int:
        """The pool."""
        return max(self.pool, self.interesting)

    def term(self, setting: Setting) -> Term:
        """See `Method.term`."""
        return _Term(self)


class _Term(Term):
    def __init__(self, method: RRD) -> None:
        super().__init__()
        self.method = method

    def forward(self, step: Step) -> Tensor:
        soft, method = step.soft, self.method
        chosen = by_rank(step, method.interesting, method.listed, method.sharpness)
        others = torch.from_numpy(step.rng.permutation(soft.tail_items.shape[1])[: method.uninteresting])
        others = others.to(soft.items.device)
        items = torch.cat([soft.items.gather(1, chosen), soft.tail_items[:, others]], dim=1)
        scores = torch.cat([soft.scores.gather(1, chosen), soft.tail_scores[:, others]], dim=1)
        mask = torch.cat([soft.mask.gather(1, chosen), soft.tail_mask[:, others]], dim=1)
        return plackett_luce(step.scores(items), scores, mask, listed=method.interesting)


def by_rank(step: Step, n: int, pool: int, sharpness: float) -> Tensor:
    """(P, n) int64, ascending: places in the teacher's lists, drawn from its best `pool`.

    Without replacement, p proportional to exp(-rank / sharpness): the n largest of log p plus Gumbel noise (Kool et
    al., ICML 2019).
    """
    width = min(pool, step.soft.items.shape[1])
    device = step.soft.items.device
    if n >= width:
        return torch.arange(width, device=device).expand(len(step.soft), -1)
    noise = torch.from_numpy(step.rng.gumbel(size=(len(step.soft), width)).astype("float32")).to(device)
    keys = noise - torch.arange(width, device=device) / sharpness
    # What is masked is left for last.
    keys = keys.masked_fill(~step.soft.mask[:, :width], -torch.inf)
    return keys.topk(n, dim=1).indices.sort(1).values
