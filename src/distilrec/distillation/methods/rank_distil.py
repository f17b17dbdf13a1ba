"""The teacher's distribution over the first places, by permutations drawn from its scores."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from distilrec.distillation.draw import LISTED, OTHERS, as_lists, gumbel
from distilrec.distillation.method import Method, Need, Setting, Step, Term
from distilrec.losses.ranking import permutation_cross_entropy
from distilrec.soft_labels import SoftBatch

__all__ = ["RankDistil"]


class RankDistil(Method):
    """The cross-entropy of the teacher's and the student's distributions over the order of the first places.

    top: k, places. permutations: drawn anew at each step, of the teacher's list, each item by softmax of its score.
    temperature: of these draws, times the one that was fitted when the teacher was recorded; towards 0 the order is
    always the teacher's own.

    Source: after Reddi et al., RankDistil, AISTATS 2021, as TF-Ranking computes it (`CoupledRankDistilLoss`), with its
    8 permutations; it has no default of k but the whole list, and its temperature divides the student's scores.
    Deviations: permutations are of the listed items only. The store's sample of all others comes after them, in any
    order, each of these for 1 / (its probability of being in the sample) items, so that the student's distribution is
    over all items. A mean over places, where theirs is a sum.
    """

    needs: ClassVar[tuple[Need, ...]] = ("unlisted",)

    method: Literal["rank_distil"] = "rank_distil"
    top: int = Field(default=10, ge=1)
    permutations: int = Field(default=8, ge=1)
    temperature: float = Field(default=1.0, gt=0)

    @property
    def listed(self) -> int:
        """One more than the places, which otherwise the same items would always fill."""
        return self.top + 1

    def term(self, setting: Setting) -> Term:
        """See `Method.term`."""
        return _Term(self)


class _Term(Term):
    def __init__(self, method: RankDistil) -> None:
        super().__init__()
        self.method = method

    def forward(self, step: Step) -> Tensor:
        method = self.method
        soft = as_lists(step.soft, max(LISTED, method.listed), OTHERS, step.rng)
        width = soft.items.shape[1]
        noise = gumbel((method.permutations, *soft.items.shape), step.rng).to(soft.items.device)
        scores = step.scores(torch.cat([soft.items, soft.tail_items], dim=1))
        return permutation_cross_entropy(
            scores[:, :width],
            soft.scores / (method.temperature * step.labels.temperature),
            soft.mask,
            noise,
            top=method.top,
            others=others(scores[:, width:], soft) if soft.tail_items.shape[1] else None,
            weights=step.weights,
        )


def others(scores: Tensor, soft: SoftBatch) -> Tensor:
    """(P,): the log-sum-exp of the student's scores of all unlisted items, from those of the sample (P, S)."""
    weighted = scores - soft.tail_probability.log().unsqueeze(1)
    # -inf would turn the gradient of rows without a sample into NaN.
    return weighted.masked_fill(~soft.tail_mask, torch.finfo(scores.dtype).min).logsumexp(1)
