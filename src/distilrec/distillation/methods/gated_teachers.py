"""Several teachers' logits, mixed for each query by a learned gate."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from distilrec.distillation.method import Method, Need, Setting, Step, Term
from distilrec.distillation.union import Union, unite
from distilrec.losses.response import sampled_soft_label_kl
from distilrec.soft_labels import SoftBatch

__all__ = ["GatedTeachers"]


class GatedTeachers(Method):
    """KL(softmax(sum_i alpha_i(x) t_i / temperature) || student), alpha(x) the weights of the members for query x.

    temperature: of both sides. floor: share of alpha that is spread evenly over the members.

    t_i: the scores of member i over its fitted temperature, less the mean over the sampled items that it didn't list;
    so members of any scale can be added, and an item that a member neither listed nor sampled counts as one of those,
    0. Candidates are what the members listed or sampled, a sampled item standing for those that weren't drawn; members'
    samples are taken for independent, so their recordings need seeds of their own.

    alpha(x) = floor / M + (1 - floor) softmax(W h + b), h the student's hidden state, W and b beginning at 0, among the
    members that recorded x. The gate learns from true labels only: from the cross-entropy of those among the candidates
    under softmax(sum_i alpha_i(x) t_i), which is added to the term. Nothing of the divergence reaches it, so it can't
    choose the member that is easiest to copy; nothing of it reaches the student; and `floor` keeps it from dropping
    a member. True labels are those of training, which the members were fitted on, too: it leans to whoever knows them
    best by heart.

    Source: after Zhu et al., Ensembled CTR Prediction via Knowledge Distillation, CIKM 2020 (no public code).
    Deviations: a distribution over items for the click's two classes; the gate reads the student's hidden state, where
    theirs reads the teachers' logits; it is trained as above, with a floor.
    """

    method: Literal["gated_teachers"] = "gated_teachers"
    needs: ClassVar[tuple[Need, ...]] = ("members", "targets")

    temperature: float = Field(default=1.0, gt=0)
    floor: float = Field(default=0.1, ge=0, le=1)

    def term(self, setting: Setting) -> Term:
        """See `Method.term`."""
        gate = setting.module("gated_teachers", nn.Linear, setting.student.width, len(setting.members))
        for weights in gate.parameters():
            nn.init.zeros_(weights)
        return _Term(self, gate)


class _Term(Term):
    def __init__(self, method: GatedTeachers, gate: nn.Module) -> None:
        super().__init__()
        self.method = method
        self.gate = gate

    def alpha(self, hidden: Tensor, recorded: Tensor) -> Tensor:
        """(P, M), each row adding up to 1, or 0 where no member recorded (P, M) the query."""
        gate: Tensor = self.gate(hidden.detach())
        gate = gate.masked_fill(~recorded, torch.finfo(hidden.dtype).min).softmax(1)
        even = recorded / recorded.sum(1, keepdim=True).clamp(min=1)
        return (self.method.floor * even + (1 - self.method.floor) * gate) * recorded

    def forward(self, step: Step) -> Tensor:
        members = [recordings[-1] for recordings in step.members.values()]
        batches = [step.recorded(labels) for labels in members]
        candidates = [batch.candidates() for batch in batches]
        union = unite([(items, mask) for items, _, mask, _ in candidates])
        alpha = self.alpha(step.hidden, torch.stack([batch.recorded for batch in batches], dim=1))
        mixed = torch.zeros(union.items.shape, device=alpha.device)
        for number, (labels, batch, (_, scores, _, _)) in enumerate(zip(members, batches, candidates, strict=True)):
            logits = union.spread(number, (scores - _unlisted(batch)) / labels.temperature)
            mixed = mixed + alpha[:, number : number + 1] * logits
        drawn = _inclusion(union, batches, [labels.path for labels in members])
        learned = sampled_soft_label_kl(
            step.scores(union.items), mixed, union.mask, drawn,
            temperature=self.method.temperature, weights=step.weights,
        )  # fmt: skip
        return learned + self._of_gate(mixed - drawn.log(), union, step)

    def _of_gate(self, logits: Tensor, union: Union, step: Step) -> Tensor:
        """The cross-entropy of the true labels that are candidates; only the gate learns from it."""
        tensor, batch = step.student.tensor, step.batch
        rows, items, weights = tensor(batch.rows), tensor(batch.items), tensor(batch.weights)
        places, there = union.find(rows, items)
        log_p = logits.masked_fill(~union.mask, torch.finfo(logits.dtype).min).log_softmax(1)
        weights = weights * there
        return -(weights * log_p[rows, places]).sum() / weights.sum().clamp(min=1e-12)


def _unlisted(batch: SoftBatch) -> Tensor:
    """(P, 1): the mean score of the sampled items; without any, the lowest listed one."""
    sampled = batch.tail_mask.sum(1, keepdim=True)
    mean = (batch.tail_scores * batch.tail_mask).sum(1, keepdim=True) / sampled.clamp(min=1)
    lowest = batch.scores.masked_fill(~batch.mask, torch.inf).amin(1, keepdim=True)
    return torch.where(sampled > 0, mean, lowest.nan_to_num(posinf=0.0))


def _inclusion(union: Union, batches: list[SoftBatch], paths: list[Path]) -> Tensor:
    """(P, U): how probable each item was to be a candidate: 1 if a member listed it, else that one sampled it.

    A recording that stands for several members, as in controls, drew one sample.
    """
    missed = torch.ones(len(union.items), 1, device=union.items.device)
    listed = torch.zeros(union.items.shape, device=union.items.device)
    for number, batch in enumerate(batches):
        if paths[number] not in paths[:number]:
            missed = missed * (1 - batch.tail_probability * batch.tail_mask.any(1)).unsqueeze(1)
        listed += union.spread(number, torch.cat([batch.mask, torch.zeros_like(batch.tail_mask)], dim=1).float())
    return torch.where((listed > 0) | ~union.mask, 1.0, 1 - missed)
