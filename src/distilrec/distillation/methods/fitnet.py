"""Plain feature distillation."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from distilrec.distillation.features import Side, item_vectors, query_vectors, widths
from distilrec.distillation.method import Method, Need, Setting, Step, Term
from distilrec.losses.feature import knowledge

__all__ = ["FitNet"]


class FitNet(Method):
    """Half the squared distance between the teacher's vectors and a linear map of the student's.

    sides: whose vectors: of `queries` (hidden states), of `items` (those that the batch is to find), or of `both`,
    each side with a map of its own, and the sum of the two losses. `queries` asks for the teacher's hidden states
    only; the others ask for its item vectors, too. `queries` alone is what `knowledge_weight` gives.

    Source: after Romero et al., FitNets, ICLR 2015.
    Deviations: the regressor is linear, without a bias. Distances and true labels are learned together, not in two
    stages. The loss is a mean over queries or items and over the teacher's dimensions, not a squared norm.
    """

    method: Literal["fitnet"] = "fitnet"
    sides: Literal["queries", "items", "both"] = "both"

    @property
    def needs(self) -> tuple[Need, ...]:  # type: ignore[override]
        """By the sides."""
        return ("hidden",) if self.sides == "queries" else ("item_vectors",)

    def term(self, setting: Setting) -> Term:
        """See `Method.term`."""
        sides: dict[str, tuple[Side, ...]] = {"queries": ("query",), "items": ("item",), "both": ("query", "item")}
        return _Term(sides[self.sides], setting)


class _Term(Term):
    def __init__(self, sides: tuple[Side, ...], setting: Setting) -> None:
        super().__init__()
        self.maps = nn.ModuleDict(
            {side: setting.module(f"fitnet {side}", nn.Linear, *widths(setting), bias=False) for side in sides}
        )

    def forward(self, step: Step) -> Tensor:
        losses = []
        for side, to_teacher in self.maps.items():
            vectors = query_vectors(step) if side == "query" else item_vectors(step, step.items)
            losses.append(knowledge(to_teacher(vectors.student), vectors.teacher, vectors.weights))
        return torch.stack(losses).sum()
