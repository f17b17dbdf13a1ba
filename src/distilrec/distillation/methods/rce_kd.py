"""Rejuvenated cross-entropy."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from distilrec.data import Interactions
from distilrec.distillation.draw import draw
from distilrec.distillation.method import Method, Need, Setting, Step, Term
from distilrec.distillation.ranks import among, best_items
from distilrec.losses.response import cross_entropy_with_logits

__all__ = ["RCEKD"]

# So many of the teacher's items at most draw the student's items before them (as in the authors' code).
MOST_BEFORE = 50.0


class RCEKD(Method):
    """Cross-entropy over the student's best items, and over the teacher's best with what the student puts first.

    (1 - w) CE over the student's best `items` + w CE over `drawn` of the student's best `pool` and those of the
    teacher's best `items` that are in neither; w = exp(-beta times the share of the teacher's best that were drawn).
    Both softmaxes are of these items only, at `temperature` times the one that was fitted for the store. An item of the
    pool is drawn with p proportional to exp(m / sharpness), m counting those of the teacher's best, 50 at most, that
    stand there or further down: what stands before them should be in the softmax, too.

    At each step all items are scored, without gradients, and the best `pool` are found: for students that read
    histories, whose batches hold thousands of queries, a step takes a few times as long as with `kl`.

    Source: Zhu and Zhang, RCE-KD, arXiv 2509.20989, by the code of its first version (woriazzc/RCEKD, "TSCKD"); items,
    drawn, pool, sharpness and beta are of the first author's settings for CiteULike and BPR (woriazzc/KDs).
    Deviations: lists without seen items (theirs hold training items, too), of the student as it is at each step
    (theirs: once an epoch); a mean over queries (theirs: a sum, times lambda of 500); temperature^2 keeps the size of
    gradients.
    """

    needs: ClassVar[tuple[Need, ...]] = ("scores",)

    method: Literal["rce_kd"] = "rce_kd"
    items: int = Field(default=50, ge=1)
    drawn: int = Field(default=50, ge=1)
    pool: int = Field(default=200, ge=1)
    sharpness: float = Field(default=10.0, gt=0)
    beta: float = Field(default=3.0, ge=0)
    temperature: float = Field(default=1.0, gt=0)

    @property
    def listed(self) -> int:
        """The teacher's best."""
        return self.items

    def term(self, setting: Setting) -> Term:
        """See `Method.term`."""
        return _Term(self, setting.log)


class _Term(Term):
    def __init__(self, method: RCEKD, log: Interactions) -> None:
        super().__init__()
        self.method, self.log = method, log

    def forward(self, step: Step) -> Tensor:
        method = self.method
        taught, taught_scores, taught_mask = step.soft.best(method.items)
        ranked, ranked_mask = best_items(step, self.log, max(method.pool, method.items))
        pool, pool_mask = ranked[:, : method.pool], ranked_mask[:, : method.pool]
        weights = pool_weights(pool, taught.masked_fill(~taught_mask, -1), method.sharpness)
        chosen, chosen_mask = draw(step.rng, weights * pool_mask, method.drawn)
        drawn, best = pool.gather(1, chosen), ranked[:, : method.items]
        n_best = best.shape[1]

        own = torch.cat([best, drawn], dim=1)
        own_scores, own_teacher = step.scores(own), step.teacher_scores(own)
        own_mask = torch.cat([ranked_mask[:, :n_best], chosen_mask], dim=1) & own_teacher.isfinite()
        was_drawn = among(taught, drawn, own_mask[:, n_best:]) & taught_mask
        is_best = among(taught, best, own_mask[:, :n_best])
        w = overlap_weight(was_drawn, taught_mask, method.beta)

        scores = torch.cat([own_scores[:, n_best:], step.scores(taught)], dim=1)
        teacher = torch.cat([own_teacher[:, n_best:], taught_scores], dim=1)
        mask = torch.cat([own_mask[:, n_best:], taught_mask & ~was_drawn & ~is_best], dim=1)
        first = self._cross_entropy(step, own_scores[:, :n_best], own_teacher[:, :n_best], own_mask[:, :n_best], 1 - w)
        return first + self._cross_entropy(step, scores, teacher, mask, w)

    def _cross_entropy(self, step: Step, student: Tensor, teacher: Tensor, mask: Tensor, weights: Tensor) -> Tensor:
        """The weighted mean over recorded queries of weight times cross-entropy."""
        weights = weights * mask.any(1) * step.weights
        total = (step.weights * step.soft.recorded).sum()
        share = weights.sum() / total.clamp(min=torch.finfo(total.dtype).tiny)
        logits = teacher / step.labels.temperature
        temperature = self.method.temperature
        return share * cross_entropy_with_logits(student, logits, mask, temperature=temperature, weights=weights)


def pool_weights(pool: Tensor, taught: Tensor, sharpness: float) -> Tensor:
    """(B, C), in [0, 1]: exp((m - most m) / sharpness), m of `taught` (B, K), 50 at most, being at a place or after it.

    pool: (B, C), best first. taught: -1 stands for no item.
    """
    hits = among(pool, taught, taught >= 0).float()
    after = hits.flip(1).cumsum(1).flip(1).clamp(max=MOST_BEFORE)
    return ((after - after[:, :1]) / sharpness).exp()


def overlap_weight(was_drawn: Tensor, mask: Tensor, beta: float) -> Tensor:
    """(B,), in (0, 1]: exp(-beta times the share of the teacher's items, (B, K), that were drawn)."""
    return (-beta * was_drawn.sum(1) / mask.sum(1).clamp(min=1)).exp()
