"""Distillation experts."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from distilrec.distillation.draw import gumbel, some
from distilrec.distillation.features import Side, item_vectors, query_vectors, widths
from distilrec.distillation.method import Method, Need, Setting, Step, Term
from distilrec.losses.feature import knowledge

__all__ = ["DE", "ExpertTerm", "Experts", "temperature_at"]

_LAST_TEMPERATURE = 1e-10


class DE(Method):
    """Half the squared distance between the teacher's vectors and what one of several experts makes of the student's.

    Which expert is chosen by a gate on the teacher's vector and Gumbel noise, at first softly (temperature 1), at last
    one alone (1e-10). Queries and items have their own experts, and their losses are added.
    experts: small networks D_S -> (D_S + D_T) / 2 -> D_T for each side. epochs: over which the temperature falls,
    by the same factor in each.

    Dear in training, since each query and item passes all experts. So no more items are drawn in a step, from those
    that the batch is to find, than it has queries.

    Source: Kang, Hwang, Kweon and Yu, DE-RRD, CIKM 2020, after its code.
    Deviations: items that are sampled as negatives don't take part (in the code they count half, as do those that were
    taken). The loss is half a mean over queries or items and over the teacher's dimensions (theirs: a sum over both,
    times lambda of 1e-2). The temperature falls over `epochs`, there over the 1,000 of the longest training.
    """

    needs: ClassVar[tuple[Need, ...]] = ("hidden", "item_vectors")

    method: Literal["de"] = "de"
    experts: int = Field(default=30, ge=1)
    epochs: int = Field(default=100, ge=1)

    def term(self, setting: Setting) -> Term:
        """See `Method.term`."""
        return ExpertTerm(setting, self.name, self.experts, self.epochs)


def temperature_at(epoch: int, epochs: int) -> float:
    """The gate's temperature: 1 in epoch 1, 1e-10 from epoch 1 + `epochs` on, geometric between.

    >>> [temperature_at(epoch, 2) for epoch in (1, 2, 3, 4)]
    [1.0, 1e-05, 1e-10, 1e-10]
    """
    return float(_LAST_TEMPERATURE ** min((epoch - 1) / epochs, 1.0))


class Experts(nn.Module):
    """`n` networks D_S -> (D_S + D_T) / 2 -> D_T with ReLU, and a gate that chooses between them."""

    def __init__(self, student: int, teacher: int, n: int) -> None:
        super().__init__()
        width = (student + teacher) // 2
        self.n = n
        self.gate = nn.Linear(teacher, n)
        self.first = nn.Linear(student, n * width)
        # As n layers of their own would begin.
        self.weights = nn.Parameter(torch.empty(n * width, teacher).uniform_(-(width**-0.5), width**-0.5))
        self.biases = nn.Parameter(torch.empty(n, teacher).uniform_(-(width**-0.5), width**-0.5))

    def forward(self, student: Tensor, teacher: Tensor, noise: Tensor, temperature: float) -> Tensor:
        """(B, D_T): the chosen experts' outputs, of vectors (B, D_S) and (B, D_T), with Gumbel noise (B, n)."""
        chosen = ((self.gate(teacher) + noise) / temperature).softmax(1)  # (B, n)
        # Linear in the choice, so the second layers of all experts are one product.
        inner = self.first(student).relu().unflatten(1, (self.n, -1)) * chosen.unsqueeze(2)
        outputs: Tensor = inner.flatten(1) @ self.weights + chosen @ self.biases
        return outputs


class ExpertTerm(Term):
    """The distance after experts, of queries and items. name: of the method, for the seed."""

    def __init__(self, setting: Setting, name: str, experts: int, epochs: int) -> None:
        super().__init__()
        self.n, self.epochs = experts, epochs
        self.experts = nn.ModuleDict(
            {side: setting.module(f"{name} {side}", Experts, *widths(setting), experts) for side in ("query", "item")}
        )

    def project(self, step: Step, side: Side, student: Tensor, teacher: Tensor) -> Tensor:
        """(B, D_T): the student's vectors (B, D_S) in the teacher's space, experts chosen anew."""
        noise = gumbel((len(student), self.n), step.rng).to(student.device)
        temperature = temperature_at(step.epoch, self.epochs)
        projected: Tensor = self.experts[side](student, teacher, noise, temperature)
        return projected

    def forward(self, step: Step) -> Tensor:
        """The sum of both sides' losses."""
        queries, items = query_vectors(step), item_vectors(step, _some_items(step))
        of_queries = self.project(step, "query", queries.student, queries.teacher)
        of_items = self.project(step, "item", items.student, items.teacher)
        return knowledge(of_queries, queries.teacher, queries.weights) + knowledge(of_items, items.teacher)


def _some_items(step: Step) -> Tensor:
    """The batch's items, or as many of them as it has queries."""
    return step.student.tensor(some(step.items.cpu().numpy(), len(step.hidden), step.rng))
