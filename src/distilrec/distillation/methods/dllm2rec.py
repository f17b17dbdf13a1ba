"""DLLM2Rec: the best of a large model's list, weighted by how far each item is to be trusted."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from distilrec.distillation.method import Method, Need, Setting, Step, Term
from distilrec.distillation.ranks import highest
from distilrec.losses.supervised import binary_cross_entropy
from distilrec.soft_labels import SoftBatch

__all__ = ["DLLM2Rec", "importance"]


class DLLM2Rec(Method):
    """Each of the teacher's best `items` against one item that it didn't list, by binary cross-entropy.

    Item pi_r weighs position * e^{-r / sharpness} + confidence * softmax(t / temperature) + consistency * [the student,
    too, has it among its best `items` of all]. The first two are shares of the list, and the sum is made one again.
    temperature: the store's own. embedding: weight of half the mean squared distance of the student's vectors of the
    batch's items from W e^T, a learned projection of the teacher's; it needs a store of kind `factored`, and 0 does
    without. The student's best take the logits of all items, a few rows at a time.

    Source: Cui et al., RecSys 2024, as read in its public code (istarryn/DLLM2Rec), whose numbers these are.
    Deviations: the negative term is -log(1 - sigmoid(s)); the code has -log sigmoid(1 - s). The negative item is drawn
    from the store's sample of those not listed (theirs: from all that weren't taken). Confidence is the teacher's
    probability within the list (theirs: e^{-distance} to its generated answer, as shares alike). The loss is the mean
    of its two terms, averaged over queries (theirs: their sum, times .8), without the DRO term that their code adds to
    all losses. The teacher's vectors draw the student's in training only (theirs: .2 W e^T is added to the student's
    input vectors, in serving, too), so that `embedding` shares no more than the number with their .2. Their code picks
    its epoch on test data; here validation does.
    """

    method: Literal["dllm2rec"] = "dllm2rec"
    items: int = Field(default=10, ge=1)
    sharpness: float = Field(default=1.0, gt=0)
    position: float = Field(default=0.3, ge=0)
    confidence: float = Field(default=0.5, ge=0)
    consistency: float = Field(default=0.1, ge=0)
    embedding: float = Field(default=0.2, ge=0)

    @property
    def listed(self) -> int:
        """The items."""
        return self.items

    @property
    def needs(self) -> tuple[Need, ...]:  # type: ignore[override]
        """A sample of other items; the teacher's item vectors only where `embedding` asks for them."""
        return ("others", "item_vectors") if self.embedding else ("others",)

    def term(self, setting: Setting) -> Term:
        """See `Method.term`."""
        return _Term(self, setting)


class _Term(Term):
    def __init__(self, method: DLLM2Rec, setting: Setting) -> None:
        super().__init__()
        self.method = method
        self.projection: nn.Module | None = None
        if method.embedding:
            width = setting.labels.item_features.shape[1]
            self.projection = setting.module("dllm2rec", nn.Linear, width, setting.student.width)

    def forward(self, step: Step) -> Tensor:
        loss = self._ranking(step)
        return loss if self.projection is None else loss + self.method.embedding * self._alignment(step)

    def _ranking(self, step: Step) -> Tensor:
        soft, n = step.soft, min(self.method.items, step.soft.items.shape[1])
        items, listed, mask = soft.items[:, :n], soft.scores[:, :n], soft.mask[:, :n]
        best, _ = highest(step.hidden, step.item_vectors, step.student.item_bias(), self.method.items)
        common = (items.unsqueeze(2) == best.unsqueeze(1)).any(2)
        weights = importance(listed / step.labels.temperature, mask, common, self.method)
        negative, drawn = _unlisted(soft, step)
        scores = step.scores(torch.cat([items, negative], dim=1))
        weights = (weights * drawn * step.weights.unsqueeze(1)).flatten()
        return binary_cross_entropy(scores[:, :n].flatten(), scores[:, n:].expand(-1, n).reshape(-1, 1), weights)

    def _alignment(self, step: Step) -> Tensor:
        assert self.projection is not None
        own = step.item_vectors[step.items]
        theirs = torch.from_numpy(step.labels.item_features[step.items.cpu().numpy()]).to(own.device)
        square: Tensor = 0.5 * (own - self.projection(theirs)).square()
        return square.mean() if len(own) else square.sum()


def importance(logits: Tensor, mask: Tensor, common: Tensor, method: DLLM2Rec) -> Tensor:
    """(B, K): the weight of each listed item, adding up to 1 over a row's unmasked ones.

    logits: (B, K), best first. mask: (B, K) bool. common: (B, K) bool, whether the student has the item high, too.
    """
    ranks = torch.arange(logits.shape[1], dtype=logits.dtype, device=logits.device)
    position = _distribution((-ranks / method.sharpness).expand_as(logits), mask)
    confidence = _distribution(logits, mask)
    weights = method.position * position + method.confidence * confidence + method.consistency * common
    weights = weights.masked_fill(~mask, 0.0)
    return weights / weights.sum(1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)


def _distribution(logits: Tensor, mask: Tensor) -> Tensor:
    """The softmax over the unmasked of each row, 0 where there is none."""
    return logits.masked_fill(~mask, torch.finfo(logits.dtype).min).softmax(1).masked_fill(~mask, 0.0)


def _unlisted(soft: SoftBatch, step: Step) -> tuple[Tensor, Tensor]:
    """One item of each query's sample, (P, 1) int64, and whether there was one, (P, 1) bool."""
    sizes = soft.tail_mask.sum(1, keepdim=True)
    at = torch.from_numpy(step.rng.random((len(soft), 1))).to(sizes.device)
    places = (at * sizes).long()  # what is masked comes last
    return soft.tail_items.gather(1, places), soft.tail_mask.gather(1, places)
