"""Hierarchical topology distillation."""

from __future__ import annotations

from typing import ClassVar, Literal, cast

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from distilrec.distillation.draw import gumbel
from distilrec.distillation.method import Method, Need, Setting, Step, Term
from distilrec.distillation.methods.ftd import Entities, item_entities, query_entities
from distilrec.losses.feature import knowledge
from distilrec.losses.relation import grouped_topology

__all__ = ["HTD"]

COLDEST = 1e-10  # the last temperature
UNFELT = 1e-7  # a share that float32 can't tell from none, beside those that add up to 1


class HTD(Method):
    """The teacher's cosines within groups of queries and of items, and those between groups and all entities.

    topology * grouped topology + (1 - topology) * |e^T - sum_k z_k f_k(e^S)|^2, by which the groups are learned: f_k is
    a network of group k, from the student's width by way of the mean of both to the teacher's; z is drawn by
    Gumbel-softmax of a linear layer on the teacher's vector, whose largest output is the entity's group.

    weight: the published 1e-3, on sums, comes to between 0.3 and 1.5 for the means at batches of 1,024 interactions.
    topology: alpha of the paper, in [0, 1]. groups: of queries, and as many of items. annealing: epochs over which the
    temperature of z falls from 1 to 1e-10; theirs are all of the training. entities, others: as in FTD.
    reduction: `sum` over pairs, and over entities and the teacher's width, as in the original, or the means of both.

    The networks are larger than a small student and are for training only. While the temperature is high, all of an
    entity's networks count, and a step may take many times that of soft labels; soon only one does. The pairs within
    groups take time, too, at worst the square of `entities`.

    Source: Kang, Hwang, Kweon and Yu, KDD 2021, after the formulas of their public code with `choice='second'`. It
    leaves pairs within a group out to which the teacher gives a cosine of 0 or less, and so does this; its temperature
    falls from the third epoch on, as here.
    Deviations: the means; items, queries, biases and sample weights as in FTD. Networks with a share below 1e-7 are
    left out.
    """

    method: Literal["htd"] = "htd"
    needs: ClassVar[tuple[Need, ...]] = ("hidden", "item_vectors")

    topology: float = Field(default=0.5, ge=0, le=1)
    groups: int = Field(default=30, ge=1)
    annealing: int = Field(default=100, ge=1)
    entities: int = Field(default=1024, ge=1)
    others: int = Field(default=1, ge=0)
    reduction: Literal["mean", "sum"] = "mean"

    def term(self, setting: Setting) -> Term:
        """See `Method.term`."""
        return _Term(self, setting)

    def temperature(self, epoch: int) -> float:
        """Of the Gumbel-softmax in this epoch, counted from 1."""
        return float(COLDEST ** min(max(epoch - 2, 0) / self.annealing, 1.0))


class _Term(Term):
    def __init__(self, method: HTD, setting: Setting) -> None:
        super().__init__()
        self.method = method
        width = setting.labels.manifest.width
        assert width is not None  # as Method.check has seen
        sizes = setting.student.width, width, method.groups
        self.queries = cast(_Grouping, setting.module("htd queries", _Grouping, *sizes))
        self.items = cast(_Grouping, setting.module("htd items", _Grouping, *sizes))

    def forward(self, step: Step) -> Tensor:
        method, temperature = self.method, self.method.temperature(step.epoch)
        queries = query_entities(step, method.entities)
        items = item_entities(step, method.entities, method.others)
        groups = torch.cat([self.queries.groups(queries.teacher), method.groups + self.items.groups(items.teacher)])
        both = queries.and_(items)
        relations = grouped_topology(both.student, both.teacher, groups, reduction=method.reduction)
        told = torch.cat([self.queries(queries, temperature, step.rng), self.items(items, temperature, step.rng)])
        grouping = 2 * knowledge(told, both.teacher, reduction=method.reduction)
        return method.topology * relations + (1 - method.topology) * grouping


class _Grouping(nn.Module):
    """Who belongs to which group, learned from how well a network of its own tells the teacher's vectors."""

    def __init__(self, student_width: int, teacher_width: int, groups: int) -> None:
        super().__init__()
        between = (student_width + teacher_width) // 2
        self.assignment = nn.Linear(teacher_width, groups)
        self.networks = nn.ModuleList(
            nn.Sequential(nn.Linear(student_width, between), nn.ReLU(), nn.Linear(between, teacher_width))
            for _ in range(groups)
        )

    @torch.no_grad()
    def groups(self, teacher: Tensor) -> Tensor:
        """(E,) int64: the likeliest group of each teacher's vector (E, D_T)."""
        largest: Tensor = self.assignment(teacher).argmax(1)
        return largest

    def forward(self, entities: Entities, temperature: float, rng: np.random.Generator) -> Tensor:
        """(E, D_T): the teacher's vectors, told from the student's by the networks of drawn groups."""
        logits = self.assignment(entities.teacher)
        noise = gumbel(tuple(logits.shape), rng).to(logits.device)
        shares = ((logits + noise) / temperature).softmax(1)  # (E, K)
        told = torch.zeros_like(entities.teacher)
        for group, network in enumerate(self.networks):
            of_group = shares[:, group]
            members = (of_group > UNFELT).nonzero().squeeze(1)
            part = network(entities.student.index_select(0, members))
            told.index_add_(0, members, of_group[members].unsqueeze(1) * part)
        return told
