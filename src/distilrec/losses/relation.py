"""Losses against the relations between entities in the teacher's space: who is like whom."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from distilrec.losses._common import check_finite, check_mask, check_reduction, check_shape

__all__ = ["grouped_topology", "topology"]


def topology(
    student_vectors: Tensor,
    teacher_vectors: Tensor,
    mask: Tensor | None = None,
    *,
    reduction: Literal["mean", "sum"] = "mean",
) -> Tensor:
    """Squared difference between the student's and the teacher's cosines, over all pairs of entities.

    student_vectors: (E, D_S), teacher_vectors: (E, D_T), of the same entities, users and items alike; the widths may
    differ. mask: (E,) bool, True where the entity counts; what stands elsewhere has no influence, be it NaN. None: all.
    reduction: "sum" is the original, over ordered pairs; "mean" divides it by the E (E - 1) pairs of two entities,
    since an entity with itself always has cosine 1. A vector of zeros has cosine 0 with all others. Fewer than two
    entities give 0.
    No pair is visited: sum (cos^S - cos^T)^2 = |S'S|^2 - 2 |S'T|^2 + |T'T|^2 for unit vectors S and T, in float64,
    as little is left of large terms when student and teacher agree. Time is linear in E.
    Raises ValueError or TypeError on arguments that don't fit, SoftLabelError on a teacher's NaN or infinity.

    Source: Kang et al., KDD 2021, the full topology of the public code, whose cosines of zero vectors are NaN.

    >>> student, teacher = torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> topology(student, teacher).item()  # cosine 1, and should be 0
    1.0
    """
    student, teacher = _chosen("topology", student_vectors, teacher_vectors, mask, reduction)
    s, t = _unit(student).double(), _unit(teacher).double()
    total = (s.T @ s).square().sum() - 2 * (s.T @ t).square().sum() + (t.T @ t).square().sum()
    total = total.to(student_vectors.dtype)
    return total if reduction == "sum" else total / max(len(s) * (len(s) - 1), 1)


def grouped_topology(
    student_vectors: Tensor,
    teacher_vectors: Tensor,
    groups: Tensor,
    mask: Tensor | None = None,
    *,
    reduction: Literal["mean", "sum"] = "mean",
) -> Tensor:
    """Squared difference between cosines, within groups and between each group's prototype and each entity.

    groups: (E,) int64, at least 0, the group of each entity. A prototype is the mean of its group's vectors; nothing
    flows back through it, to the student neither. Within groups only pairs count that the teacher finds alike, with a
    cosine above 0.
    reduction: "sum" is the original, over ordered pairs and over prototypes and entities; "mean" is the mean over pairs
    of two entities plus the mean over prototypes and entities, since of the pairs there are ever more in larger
    batches. The other arguments and the errors are those of `topology`. Time grows with the sum of squares of the
    groups' sizes.

    Source: Kang et al., KDD 2021, the hierarchical topology of the public code with `choice='second'`, Group(P, e).

    >>> student, teacher = torch.eye(3), torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> round(grouped_topology(student, teacher, torch.tensor([0, 0, 1]), reduction="sum").item(), 4)
    2.1716
    """
    where = "grouped_topology"
    student, teacher = _chosen(where, student_vectors, teacher_vectors, mask, reduction)
    check_shape(f"{where}: groups", groups, (len(student_vectors),), "entities would be grouped with others")
    labels, order = (groups if mask is None else groups[mask]).sort(stable=True)
    student, teacher = student[order], teacher[order]
    counts = labels.bincount()
    sizes = counts[counts > 0]
    group = torch.arange(len(sizes), device=labels.device).repeat_interleave(sizes)
    s, t = _unit(student), _unit(teacher)
    # (G, E): the prototypes' cosines with all entities.
    off = _unit(_means(student.detach(), group, sizes)) @ s.T - _unit(_means(teacher, group, sizes)) @ t.T
    within, pairs = off.new_zeros(()), 0
    for own, like in zip(*(torch.tensor_split(side, sizes.cumsum(0)[:-1].tolist()) for side in (s, t)), strict=True):
        cosines = like @ like.T
        alike = cosines > 0
        within = within + ((own @ own.T - cosines).square() * alike).sum()
        pairs += int(alike.sum()) - int(alike.diagonal().sum())  # a vector of zeros isn't like itself either
    between = off.square().sum()
    return between + within if reduction == "sum" else between / max(off.numel(), 1) + within / max(pairs, 1)


def _chosen(
    where: str, student: Tensor, teacher: Tensor, mask: Tensor | None, reduction: Literal["mean", "sum"]
) -> tuple[Tensor, Tensor]:
    """The vectors that count, after all checks; the teacher's without gradients."""
    check_shape(f"{where}: student_vectors", student, (-1, -1), "rows must be entities")
    check_shape(f"{where}: teacher_vectors", teacher, (len(student), -1), "relations would be those of other entities")
    check_reduction(where, reduction)
    teacher = teacher.detach()
    if mask is not None:
        check_mask(f"{where}: mask", mask, (len(student),))
        student, teacher = student[mask], teacher[mask]
    check_finite(f"{where}: teacher_vectors", teacher)
    return student, teacher


def _unit(vectors: Tensor) -> Tensor:
    """Vectors (E, D) of length 1; zeros stay zeros, and have a gradient."""
    length = vectors.norm(dim=1, keepdim=True)
    unit: Tensor = vectors / length.where(length > 0, 1.0)
    return unit


def _means(vectors: Tensor, group: Tensor, sizes: Tensor) -> Tensor:
    """(G, D): the mean of each group's vectors."""
    members = group == torch.arange(len(sizes), device=group.device).unsqueeze(1)  # (G, E)
    return (members / sizes.unsqueeze(1)).to(vectors.dtype) @ vectors
