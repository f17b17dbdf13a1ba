"""The teacher's order within groups of items of like popularity."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from distilrec.distillation.method import Method, Need, Setting, Step, Term
from distilrec.distillation.popularity_groups import group_lists, popularity_groups, shares
from distilrec.errors import SoftLabelError
from distilrec.losses.supervised import bpr

__all__ = ["UnKD"]

Array = NDArray[np.int64]


class UnKD(Method):
    """-log sigmoid(s_hi - s_lo) over pairs of like popularity, so that the teacher's bias to popular items stays out.

    groups: parts of the catalogue of about equal numbers of interactions, by falling popularity; items without any are
    in none. pairs: per query and step, shared out to groups in proportion to their ratio (`shares`) to the power of
    `debias`: 1 gives more pairs to groups of less popular items, 0 as many to each. A pair is two items of a group's
    list, each drawn with probability proportional to exp(-rank / sharpness) from the teacher's best `pool` of the
    group, what the query has seen left out; the better one is hi.

    Source: after Chen et al., UnKD, WSDM 2023, and its code, whose defaults these are but for those named here.
    Deviations from the code: the power of ratios, there `lamda`, is 0 by its settings and its example, so that each
    group gets as many pairs. Its pool is 1,000; at a sharpness of 20 the places from the 101st on have a probability of
    exp(-5) together. It takes 2 groups by default, 4 in its example, fills them one by one, and rounds ratios to two
    digits. A pair that drew one item twice drops out, where it draws again. Pairs are drawn at each step, not once an
    epoch. The mean is over queries, where its own is over interactions, by which active users weigh more.

    The lists are made once, from all scores of the teacher, in blocks; they take 4 bytes times the store's rows, groups
    and pool.
    """

    needs: ClassVar[tuple[Need, ...]] = ("scores",)

    method: Literal["unkd"] = "unkd"
    groups: int = Field(default=4, ge=1)
    pairs: int = Field(default=30, ge=1)
    pool: int = Field(default=100, ge=2)
    sharpness: float = Field(default=20.0, gt=0)
    debias: float = Field(default=1.0, ge=0)

    def term(self, setting: Setting) -> Term:
        """See `Method.term`."""
        counts = setting.log.item_counts()[: setting.labels.manifest.n_items]
        if not counts.any():
            raise SoftLabelError(
                f"{setting.labels.path}: the method {self.name!r} groups items by their interactions, but nobody took "
                "any of the teacher's items in this log; train on the log that the teacher was recorded on"
            )
        groups = popularity_groups(counts, self.groups)
        lists = group_lists(setting.labels, setting.log, groups, self.pool)
        return _Term(self, lists, shares(counts, groups, self.pairs, self.debias))


class _Term(Term):
    def __init__(self, method: UnKD, lists: NDArray[np.int32], pairs: Array) -> None:
        super().__init__()
        self.method, self.lists = method, lists
        self.lengths = (lists >= 0).sum(2)
        self.owners = np.repeat(np.arange(len(pairs)), pairs)

    def forward(self, step: Step) -> Tensor:
        known = np.flatnonzero(step.rows >= 0)
        rows, owners = step.rows[known][:, None], self.owners[None]
        lengths = self.lengths[rows, owners]
        first, second = (draw_ranks(lengths, self.method.sharpness, step.rng) for _ in range(2))
        high, low = (self.lists[rows, owners, rank] for rank in (np.minimum(first, second), np.maximum(first, second)))
        items = np.zeros((len(step.rows), 2 * owners.size), np.int64)
        weights = np.zeros((len(step.rows), owners.size), np.float32)
        items[known] = np.concatenate([high, low], axis=1).clip(min=0)
        counts = (first != second).astype(np.float32)
        weights[known] = counts / counts.sum(1, keepdims=True).clip(min=1)
        better, worse = step.scores(step.student.tensor(items)).chunk(2, dim=1)
        of_pairs = step.student.tensor(weights) * step.weights.unsqueeze(1)
        return bpr(better.flatten(), worse.flatten(), of_pairs.flatten())


def draw_ranks(lengths: Array, sharpness: float, rng: np.random.Generator) -> Array:
    """Ranks from 0, each below its length, with probability proportional to exp(-rank / sharpness).

    They have the shape of `lengths`, and are 0 where it is 0.
    """
    share = rng.random(lengths.shape) * -np.expm1(-lengths / sharpness)
    return np.minimum(-sharpness * np.log1p(-share), np.maximum(lengths - 1, 0)).astype(np.int64)
