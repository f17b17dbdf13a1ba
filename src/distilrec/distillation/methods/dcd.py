"""Dual correction distillation."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from distilrec.data import Interactions
from distilrec.distillation.draw import draw, some
from distilrec.distillation.method import Method, Need, Setting, Step, Term
from distilrec.distillation.ranks import left_out
from distilrec.losses.ranking import ordered_plackett_luce
from distilrec.ranking import top_k

__all__ = ["DCD"]


class DCD(Method):
    """Items that the student ranks too low come in the teacher's order, and before those that it ranks too high.

    So for each query, and likewise for items: for each of some items of the batch, the queries that it ranks too low or
    too high.

    pool: the teacher's best, among which both rank. drawn: how many too low ones, and how many too high ones, each with
    p proportional to tanh(eps times the difference of ranks), without replacement. item_weight: of the items' side.
    items: of those that the batch is to find, so many are drawn for the items' side at each step; queries: so many of
    the batch's.

    Source: after Lee and Kim, CIKM 2021, and the authors' code (dudwns511/DCD_CIKM21), whose pool is of 500, on both
    sides. The paper has a term of ranking distillation beside these: name `rrd`, too, to have it.
    Deviations: ranks are of the student as it is at each step (theirs: at every third epoch). An item's pool is of the
    batch's queries that haven't seen it (theirs: the teacher's best 500 of all users), so that students that read
    histories can learn it, too. Where fewer differ than are to be drawn, fewer are. The loss is a mean over queries or
    items and over places (theirs: a sum). eps is that of a public reimplementation (woriazzc/KDs), which leaves the
    items' side out; the other settings are ours. Sample weights are of the queries' side alone.
    """

    needs: ClassVar[tuple[Need, ...]] = ("scores",)

    method: Literal["dcd"] = "dcd"
    pool: int = Field(default=100, ge=2)
    drawn: int = Field(default=40, ge=1)
    eps: float = Field(default=0.1, gt=0)
    item_weight: float = Field(default=1.0, ge=0)
    items: int = Field(default=64, ge=1)
    queries: int = Field(default=500, ge=2)

    @property
    def listed(self) -> int:
        """The pool."""
        return self.pool

    def term(self, setting: Setting) -> Term:
        """See `Method.term`."""
        return _Term(self, setting.log)


class _Term(Term):
    def __init__(self, method: DCD, log: Interactions) -> None:
        super().__init__()
        self.method, self.log = method, log

    def forward(self, step: Step) -> Tensor:
        items, _, mask = step.soft.best(self.method.pool)
        loss = self._corrected(step, step.scores(items), mask, step.weights)
        if not self.method.item_weight:
            return loss
        return loss + self.method.item_weight * self._item_side(step)

    def _corrected(self, step: Step, scores: Tensor, mask: Tensor, weights: Tensor | None = None) -> Tensor:
        """The loss of the student's scores (R, C), which stand in the teacher's order. weights: (R,), or None."""
        low, high = discrepancies(scores.detach(), mask, self.method.eps)
        (lows, low_mask), (highs, high_mask) = (draw(step.rng, p, self.method.drawn) for p in (low, high))
        return ordered_plackett_luce(
            scores.gather(1, lows), low_mask, scores.gather(1, highs), high_mask, weights=weights
        )

    def _item_side(self, step: Step) -> Tensor:
        items = some(step.items.cpu().numpy(), self.method.items, step.rng)
        places = some(np.flatnonzero(step.rows >= 0), self.method.queries, step.rng)
        if len(items) == 0 or len(places) == 0:
            return step.hidden.sum() * 0
        rows = step.rows[places]
        asked = np.broadcast_to(items, (len(rows), len(items)))
        device = step.hidden.device
        teacher = step.labels.scores(rows, asked).to(device)
        owners, seen = left_out(self.log, step.labels, rows).flat()
        columns = np.minimum(np.searchsorted(items, seen), len(items) - 1)
        found = items[columns] == seen
        teacher[torch.from_numpy(owners[found]), torch.from_numpy(columns[found])] = -torch.inf
        values, best = top_k(teacher.T.contiguous(), min(self.method.pool, len(rows)))
        hidden = step.hidden[torch.from_numpy(places).to(device)]
        # An item's bias is the same for all queries, and has no say in the order.
        scores = step.item_vectors[torch.from_numpy(items).to(device)] @ hidden.T
        return self._corrected(step, scores.gather(1, best), values > -torch.inf)


def discrepancies(scores: Tensor, mask: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """How much too low, and how much too high, the student ranks candidates: two of (R, C), in [0, 1).

    scores: (R, C), the student's, in the teacher's order. tanh(max(0, eps times the difference of ranks)), equal scores
    being ranked as the teacher does; 0 where masked. Masked ones come last in each row.
    """
    order = scores.masked_fill(~mask, -torch.inf).argsort(dim=1, descending=True, stable=True)
    places = torch.arange(scores.shape[1], device=scores.device).expand_as(order)
    ranks = torch.empty_like(order).scatter_(1, order, places)
    difference = eps * (ranks - places) * mask
    return difference.clamp(min=0).tanh(), (-difference).clamp(min=0).tanh()
