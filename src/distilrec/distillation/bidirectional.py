"""Bidirectional distillation: two models in joint training pull each other where their ranks differ."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from distilrec.losses.pointwise import soft_binary_cross_entropy

__all__ = ["BD", "bidirectional", "draw", "ranks"]


class BD(BaseModel):
    """Each side learns the other's softened probability of items that it ranks worse than the other does.

    BCE(sigmoid(s), stopgrad sigmoid(t / temperature)) and its mirror. r counts from the best item; the student's items
    are drawn with p ~ tanh(max(0, student_sharpness * (r_S - r_T))), the teacher's with
    p ~ exp(teacher_sharpness * (r_T - r_S)).

    temperature: of the side that is learned from. drawn: items per query and side, with replacement. sample: items per
    step, drawn evenly for all queries of the batch, from which the items are drawn.

    Source: Kweon, Kang and Yu, WWW 2021, as read in its public code (WonbinKweon/BD_WWW2021, BPR on CiteULike), whose
    temperature and sharpnesses these are.
    Deviations: ranks come from the step's own scores of the sample, times N over its size; theirs are over all items,
    made anew every ten epochs, and count from the worst item, by which the same formulas draw what a side overrates.
    Items that the query took may be drawn, too. The loss is a mean over queries and items (theirs: a sum). Both models
    take one step together, and their pretraining (theirs: each alone first) is left to `training`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["bd"] = "bd"
    temperature: float = Field(default=5.0, gt=0)
    drawn: int = Field(default=10, ge=1)
    sample: int = Field(default=200, ge=2)
    student_sharpness: float = Field(default=0.01, gt=0)
    teacher_sharpness: float = Field(default=1e-4, gt=0)


def bidirectional(
    student_scores: Tensor, teacher_scores: Tensor, weights: Tensor, n_items: int, method: BD, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """The student's loss and the teacher's, each a scalar, for scores (P, M) of an even sample of all `n_items`.

    weights: (P,), of the queries in the means.
    """
    with torch.no_grad():
        behind = (ranks(student_scores) - ranks(teacher_scores)) * (n_items / student_scores.shape[1])
        for_student = draw((method.student_sharpness * behind.clamp(min=0)).tanh(), method.drawn, rng)
        for_teacher = draw((-method.teacher_sharpness * behind).softmax(1), method.drawn, rng)
    return (
        _pull(student_scores, teacher_scores, weights, *for_student, method.temperature),
        _pull(teacher_scores, student_scores, weights, *for_teacher, method.temperature),
    )


def _pull(scores: Tensor, other: Tensor, weights: Tensor, places: Tensor, mask: Tensor, temperature: float) -> Tensor:
    return soft_binary_cross_entropy(
        scores.gather(1, places), other.gather(1, places), mask, temperature=temperature, weights=weights
    )


def ranks(scores: Tensor) -> Tensor:
    """(P, M) int64, from 0, the place of each item in its row's order, best first.

    >>> ranks(torch.tensor([[0.1, 0.9, 0.5]])).tolist()
    [[2, 0, 1]]
    """
    order = scores.argsort(dim=1, descending=True, stable=True)
    places = torch.arange(scores.shape[1], device=scores.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places)


def draw(weights: Tensor, n: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Places (P, n) int64 drawn from rows of weights (P, M) in proportion, with replacement, and which count (P, n).

    None counts in a row without weight.

    >>> places, counts = draw(torch.tensor([[0.0, 2.0], [0.0, 0.0]]), 2, np.random.default_rng(0))
    >>> places[0].tolist(), counts.tolist()
    ([1, 1], [[True, True], [False, False]])
    """
    sums = weights.double().cumsum(1)  # in which a small weight beside a large sum isn't lost
    at = torch.from_numpy(rng.random((len(weights), n))).to(weights.device) * sums[:, -1:]
    places = torch.searchsorted(sums, at, right=True).clamp(max=weights.shape[1] - 1)
    return places, weights.gather(1, places) > 0
