"""Full topology distillation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from distilrec.distillation.draw import some
from distilrec.distillation.features import item_vectors
from distilrec.distillation.method import Method, Need, Setting, Step, Term
from distilrec.distillation.ranks import told_items
from distilrec.losses.relation import topology
from distilrec.models import look_up

__all__ = ["FTD", "Entities", "item_entities", "query_entities"]


class FTD(Method):
    """The cosines between all queries and items of a batch, as they are among the teacher's vectors.

    weight: 7 is about what the published 1e-3, on sums, comes to at batches of 1,024 interactions and 2,600 entities.
    entities: most queries, and most items, of a step; where the batch has more, they are drawn at each step.
    others: items drawn evenly from all for each target of the batch, beside the targets. reduction: `sum` over ordered
    pairs, as in the original, or their mean.

    Source: Kang, Hwang, Kweon and Yu, KDD 2021, after the formula of their public code.
    Deviations: the mean. For students that read histories a query is a history, not a user. Items beside the targets
    are drawn for this term; theirs are the negatives of its BPR, among which are none that the user took. Biases of
    items have no say, nor have sample weights: a cosine is of two. The sum is had without making the pairs, so a step
    takes time linear in entities.
    """

    method: Literal["ftd"] = "ftd"
    needs: ClassVar[tuple[Need, ...]] = ("hidden", "item_vectors")

    weight: float = Field(default=7.0, ge=0)
    entities: int = Field(default=1024, ge=1)
    others: int = Field(default=1, ge=0)
    reduction: Literal["mean", "sum"] = "mean"

    def term(self, setting: Setting) -> Term:
        """See `Method.term`."""
        return _Term(self)


class _Term(Term):
    def __init__(self, method: FTD) -> None:
        super().__init__()
        self.method = method

    def forward(self, step: Step) -> Tensor:
        method = self.method
        both = query_entities(step, method.entities).and_(item_entities(step, method.entities, method.others))
        return topology(both.student, both.teacher, reduction=method.reduction)


@dataclass(frozen=True, eq=False)
class Entities:
    """Queries or items. student: (E, D_S), with gradients. teacher: (E, D_T)."""

    student: Tensor
    teacher: Tensor

    def and_(self, others: Entities) -> Entities:
        """These, then the others."""
        return Entities(torch.cat([self.student, others.student]), torch.cat([self.teacher, others.teacher]))


def query_entities(step: Step, most: int) -> Entities:
    """The batch's recorded queries, or `most` of them."""
    assert step.soft.hidden is not None  # as Method.check has seen
    places = torch.from_numpy(some(np.flatnonzero(step.rows >= 0), most, step.rng)).to(step.hidden.device)
    return Entities(look_up(step.hidden, places), step.soft.hidden[places])


def item_entities(step: Step, most: int, others: int) -> Entities:
    """The batch's items and `others` for each target, drawn evenly from those that are told of; or `most`."""
    told = told_items(step.labels)
    drawn = told[step.rng.integers(0, len(told), others * len(step.batch.items))]
    items = some(np.union1d(step.items.cpu().numpy(), drawn), most, step.rng)
    student, teacher, _ = item_vectors(step, step.student.tensor(items))
    return Entities(student, teacher)
