"""Several teachers' lists made one by voting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from distilrec.distillation.draw import OTHERS, as_lists
from distilrec.distillation.method import Method, Need, Setting, Step, Term
from distilrec.distillation.union import vote
from distilrec.errors import SoftLabelError
from distilrec.losses.ranking import plackett_luce

__all__ = ["RankAggregation"]


class RankAggregation(Method):
    """The order that the teacher's members agree on, by weighted Borda count.

    weights: of the members, by name, at least 0; those that aren't named weigh 1. pool: each member gives its best
    item `pool` points, the next one less, and so on to 1; the weighted sum over members is an item's count. Where
    counts are equal, those of members that come first count more. interesting: the items of the largest counts, which
    are ranked; all others of the pools, and the first member's sample of those that it didn't list, come below in any
    order. The loss is that of `rrd` (Plackett-Luce), a mean over queries and places.

    Source: Borda count; the list loss of DE-RRD (Kang et al., CIKM 2020, section 3.2).
    Lists are as long as the store's, so an item just outside of one has no point of it. Scores aren't read, so members
    whose scores have other scales need no calibration.
    """

    method: Literal["rank_aggregation"] = "rank_aggregation"
    needs: ClassVar[tuple[Need, ...]] = ("members", "unlisted")
    pooled: ClassVar[Mapping[str, str]] = {"interesting": "pool"}

    weights: Mapping[str, Annotated[float, Field(ge=0)]] = {}
    pool: int = Field(default=50, ge=1)
    interesting: int = Field(default=40, ge=1)

    @property
    def listed(self) -> int:
        """The pool."""
        return self.pool

    def check(self, setting: Setting) -> None:
        """Raise SoftLabelError also for weights of members that there aren't, or of 0 for all that there are."""
        super().check(setting)
        names = list(setting.members)
        if not set(self.weights) <= set(names) or not any(self.weights.get(name, 1.0) for name in names):
            raise SoftLabelError(
                f"rank_aggregation: expected weights of members among {names}, one of them above 0; "
                f"given {dict(self.weights)}"
            )

    def term(self, setting: Setting) -> Term:
        """See `Method.term`."""
        return _Term(self)


class _Term(Term):
    def __init__(self, method: RankAggregation) -> None:
        super().__init__()
        self.method = method

    def forward(self, step: Step) -> Tensor:
        weights = {name: self.method.weights.get(name, 1.0) for name in step.members}
        voters = {name: weight for name, weight in weights.items() if weight > 0}
        batches = [step.recorded(step.members[name][-1]) for name in voters]
        first = as_lists(batches[0], self.method.pool, OTHERS, step.rng)
        sample = first.tail_items, first.tail_mask
        points = torch.arange(self.method.pool, 0, -1, dtype=torch.float32)
        lists = [batch.best(self.method.pool)[::2] for batch in batches]
        union, votes = vote(lists, sample, list(voters.values()), points)
        scores, listed = step.scores(union.items), self.method.interesting
        return plackett_luce(scores, votes, union.mask, listed=listed, weights=step.weights)
