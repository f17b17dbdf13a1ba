"""Collaborative distillation."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from distilrec.data import Interactions
from distilrec.distillation.draw import draw
from distilrec.distillation.method import Method, Need, Setting, Step, Term
from distilrec.distillation.ranks import sampled_items
from distilrec.losses.pointwise import soft_binary_cross_entropy

__all__ = ["CD"]

# Items further down, in units of sharpness, are hardly ever drawn: p is below 0.001 of the first one's.
FARTHEST = 7


class CD(Method):
    """The teacher's probability of each of some items that the student ranks high.

    BCE(sigma(s), q), q = sigma((t + shift) / temperature), t being the teacher's score over the store's fitted
    temperature. The scores of both are log-odds here; `shift` brings them there for a teacher of a softmax, whose
    scores know no zero. items: drawn for each query and step, p proportional to exp(-rank / (sharpness N)) by the
    student's rank, from `sampled` unseen items. sharpness: a share of the catalogue; a large one draws evenly.

    Source: after Lee, Choi, Lee and Shim, ICDM 2019; temperature and shift are those of a public reimplementation
    (woriazzc/KDs), the other settings are ours.
    Deviations: items are drawn from an even sample, new at each step and common to all queries, by their ranks in it
    (the reimplementation: once an epoch, from the student's best 3,000, of two drawn nearly evenly the better one). The
    loss is a mean over queries and items (theirs: a sum).
    """

    needs: ClassVar[tuple[Need, ...]] = ("scores",)

    method: Literal["cd"] = "cd"
    items: int = Field(default=20, ge=1)
    sampled: int = Field(default=500, ge=1)
    sharpness: float = Field(default=0.05, gt=0)
    temperature: float = Field(default=2.0, gt=0)
    shift: float = 0.0

    def term(self, setting: Setting) -> Term:
        """See `Method.term`."""
        return _Term(self, setting.log)


class _Term(Term):
    def __init__(self, method: CD, log: Interactions) -> None:
        super().__init__()
        self.method, self.log = method, log

    def forward(self, step: Step) -> Tensor:
        method = self.method
        sample, scores = sampled_items(step, self.log, method.sampled)
        # A place in the sample over its size is a rank over the size of the catalogue.
        scale = len(sample) * method.sharpness
        values, best = scores.topk(min(len(sample), math.ceil(FARTHEST * scale) + method.items))
        p = (-torch.arange(best.shape[1], device=best.device) / scale).exp()
        chosen, mask = draw(step.rng, p * (values > -torch.inf), method.items)
        items = sample[best.gather(1, chosen)]
        teacher = step.teacher_scores(items) / step.labels.temperature
        mask = mask & step.soft.recorded.unsqueeze(1) & teacher.isfinite()
        return soft_binary_cross_entropy(
            step.scores(items), teacher, mask, temperature=method.temperature, shift=method.shift, weights=step.weights
        )
