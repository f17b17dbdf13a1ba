"""The vectors that feature methods compare: the student's and the teacher's, of queries and of items."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

from torch import Tensor

from distilrec.distillation.method import Setting, Step
from distilrec.models import look_up

__all__ = ["Side", "Vectors", "item_vectors", "query_vectors", "widths"]

Side: TypeAlias = Literal["query", "item"]


class Vectors(NamedTuple):
    """Of B queries or items.

    student: (B, D_S), with gradients. teacher: (B, D_T). weights: (B,), 0 where the teacher's isn't known, or None
    for items.
    """

    student: Tensor
    teacher: Tensor
    weights: Tensor | None


def query_vectors(step: Step) -> Vectors:
    """Hidden states of the batch's queries. Needs "hidden"."""
    assert step.soft.hidden is not None  # Method.check has seen that the store holds them
    return Vectors(step.hidden, step.soft.hidden, step.weights * step.soft.recorded)


def item_vectors(step: Step, items: Tensor) -> Vectors:
    """Vectors of items (I,) int64 that the teacher knows. Needs "item_vectors"."""
    teacher = step.labels.item_features[items.cpu().numpy()]
    return Vectors(look_up(step.item_vectors, items), step.student.tensor(teacher), None)


def widths(setting: Setting) -> tuple[int, int]:
    """D_S and D_T. Needs "hidden" or "item_vectors"."""
    width = setting.labels.manifest.width
    assert width is not None  # Method.check has seen that the store holds vectors
    return setting.student.width, width
