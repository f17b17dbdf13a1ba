"""Preference-consistent distillation: experts that keep the student's own order of items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from distilrec.distillation.draw import places_by_rank
from distilrec.distillation.features import item_vectors, query_vectors
from distilrec.distillation.method import Method, Need, Setting, Step, Term
from distilrec.distillation.methods.de import ExpertTerm
from distilrec.losses.feature import preference_consistency
from distilrec.models import pair_scores

__all__ = ["PCKD"]


class PCKD(Method):
    """Distillation experts, held to the student's own scores of some items, so that what they learn isn't theirs alone.

    Loss: that of `de`, plus `consistency` times the cross-entropy from the student's softmax over `items` items,
    at `temperature`, to the softmax of scores after the experts. The latter's gradient reaches the experts only.
    experts, epochs: as in `de`. items: drawn anew at each step from the teacher's best `pool`, with probability
    proportional to exp(-rank / sharpness), without replacement.

    About twice as dear as `de`: the items that were drawn pass the experts, too, and queries do so again.

    Source: Zhu and Zhang, Preference-Consistent Knowledge Distillation, TKDE 2025, the list-wise variant; formula and
    settings after its code (CPD of woriazzc/KDs, for BPR on CiteULike).
    Deviations: those of `de`. Items are drawn at each step, not once an epoch, from the teacher's list (as in the code;
    the paper ranks by the student), which leaves out what was seen (theirs holds it). Scores are without the item's
    bias, which the experts don't see. An item that was drawn for several queries passes the experts once. The
    cross-entropy is a mean over queries (theirs: a sum).
    """

    needs: ClassVar[tuple[Need, ...]] = ("hidden", "item_vectors")
    pooled: ClassVar[Mapping[str, str]] = {"items": "pool"}

    method: Literal["pckd"] = "pckd"
    experts: int = Field(default=30, ge=1)
    epochs: int = Field(default=100, ge=1)
    consistency: float = Field(default=0.1, ge=0)
    items: int = Field(default=5, ge=2)
    pool: int = Field(default=100, ge=2)
    sharpness: float = Field(default=10.0, gt=0)
    temperature: float = Field(default=0.1, gt=0)

    @property
    def listed(self) -> int:
        """The pool."""
        return self.pool

    def term(self, setting: Setting) -> Term:
        """See `Method.term`."""
        return _Term(self, setting)


class _Term(ExpertTerm):
    def __init__(self, method: PCKD, setting: Setting) -> None:
        super().__init__(setting, method.name, method.experts, method.epochs)
        self.method = method

    def forward(self, step: Step) -> Tensor:
        """The loss of `de`, and the consistency."""
        return super().forward(step) + self.method.consistency * self._consistency(step)

    def _consistency(self, step: Step) -> Tensor:
        method = self.method
        listed, _, mask = step.soft.best(method.listed)
        chosen = places_by_rank(mask, method.items, method.sharpness, step.rng)
        items, places = torch.unique(listed.gather(1, chosen), return_inverse=True)
        queries, vectors = query_vectors(step), item_vectors(step, items)
        hidden, taken = queries.student.detach(), vectors.student.detach()
        rows = torch.arange(len(hidden), device=hidden.device)
        before = pair_scores(hidden, taken, rows, places)
        after = pair_scores(
            self.project(step, "query", hidden, queries.teacher),
            self.project(step, "item", taken, vectors.teacher),
            rows,
            places,
        )
        return preference_consistency(
            after, before, mask.gather(1, chosen), temperature=method.temperature, weights=step.weights
        )
