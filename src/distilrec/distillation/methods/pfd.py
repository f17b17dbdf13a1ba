"""Privileged-feature distillation: a teacher that saw what serving won't have."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from distilrec.distillation.method import Method, Need, Setting, Step, Term
from distilrec.losses.pointwise import soft_binary_cross_entropy
from distilrec.models import look_up, pair_scores

__all__ = ["PFD"]


class PFD(Method):
    """BCE(stopgrad q, sigmoid(s)) over the teacher's list, its sample of the others, and the items to be found.

    With `alpha` for lambda and `supervision: {loss: bce}` for the true labels, the student's loss is
    (1 - lambda) BCE(y, s) + lambda BCE(q, s). A `schedule` that begins at 0 is the warm-up without the teacher.
    q = p / (p + negatives / N), with p the teacher's probability of the item among N at the store's temperature: how
    probable it is that the item was taken, and isn't one of `negatives` drawn evenly. negatives: those of the
    supervision, by which both terms speak of the same probability. Items to be found join where the store can score
    them (kind `factored`); those that are listed then count twice. What is privileged is up to the teacher; the
    student never reads it.

    Source: after Xu et al., KDD 2020, from memory; no public code was found.
    Deviations: q is made of scores by the store's temperature (theirs: the sigmoid of a teacher that was trained by
    binary cross-entropy). The teacher is recorded before (theirs: trained beside the student). In the warm-up true
    labels keep the weight 1 - lambda. A mean over pairs of query and item.
    """

    needs: ClassVar[tuple[Need, ...]] = ("temperature",)

    method: Literal["pfd"] = "pfd"
    negatives: int = Field(default=1, ge=1)

    def term(self, setting: Setting) -> Term:
        """See `Method.term`."""
        return _Term(self)


class _Term(Term):
    def __init__(self, method: PFD) -> None:
        super().__init__()
        self.method = method

    def forward(self, step: Step) -> Tensor:
        items, scores, mask, _ = step.soft.candidates()
        temperature = step.labels.temperature
        # log p - log (negatives / N), whose sigmoid is q.
        chance = np.log(self.method.negatives / step.labels.manifest.n_items)
        shift = (step.soft.log_sum_exp_at(temperature) + chance).unsqueeze(1)
        student, teacher = step.scores(items), scores / temperature - shift
        weights = step.weights.unsqueeze(1).expand(mask.shape)
        parts = [(student.flatten(), teacher.flatten(), mask.flatten(), weights.flatten())]
        if step.labels.manifest.kind == "factored":
            parts.append(_targets(step, shift))
        student, teacher, mask, weights = (torch.cat(columns) for columns in zip(*parts, strict=True))
        # Each pair is a row of its own, so that the mean is over pairs.
        pairs = (part.unsqueeze(1) for part in (student, teacher, mask))
        return soft_binary_cross_entropy(*pairs, weights=weights)


def _targets(step: Step, shift: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(T,) each, of the items to be found for recorded queries: student's and teacher's logits, a mask and weights."""
    batch, labels = step.batch, step.labels
    kept = (step.rows[batch.rows] >= 0) & (batch.items < labels.manifest.n_items)
    rows, items = batch.rows[kept], batch.items[kept, None]
    owners, places, bias = step.student.tensor(rows), step.student.tensor(items), step.student.item_bias()
    student = pair_scores(step.hidden, step.item_vectors, owners, places)
    student = student if bias is None else student + look_up(bias, places)
    teacher = labels.scores(step.rows[rows], items).to(shift.device) / labels.temperature - shift[owners]
    mask = torch.ones_like(owners, dtype=torch.bool)
    return student.flatten(), teacher.flatten(), mask, step.weights[owners]
