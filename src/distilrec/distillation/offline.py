"""Training a student on true labels and on soft labels recorded before; the teacher isn't needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import embedding

from distilrec.data import Batch, Interactions, Split
from distilrec.errors import SoftLabelError
from distilrec.losses.chunked import LogitsTerm, cross_entropy_, over_all_items
from distilrec.losses.feature import knowledge
from distilrec.losses.response import sampled_soft_label_kl
from distilrec.models import DotProductModel, Supervision, softmax_terms, supervised_loss, validator
from distilrec.rng import child_seed
from distilrec.soft_labels import SoftBatch, SoftLabels
from distilrec.training import Epoch, TrainingConfig, train

__all__ = ["DistillationConfig", "distil"]

# Up to so many items, a product with all item vectors is quicker than gathering those of the candidates.
LARGEST_DENSE = 20_000


class DistillationConfig(BaseModel):
    """How true labels, soft labels and hidden states are mixed.

    loss = (1 - alpha) * true labels + alpha * temperature^2 * soft labels + knowledge_weight * hidden states.

    alpha: in [0, 1]; 0 is the student alone. temperature: times the one that was fitted on validation when
    the teacher was recorded; one of those on the recording's grid. knowledge_weight: lambda; above 0 the
    store must hold hidden states. tail: what stands for the items that the teacher didn't list: `mass`, all of them
    together as one class, with the student's softmax over all items; `sampled`, the store's sample of them,
    with a softmax over listed and sampled items only, which is also the cheaper one for large catalogues.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    alpha: float = Field(default=0.5, ge=0, le=1)
    temperature: float = Field(default=1.0, gt=0)
    knowledge_weight: float = Field(default=0.0, ge=0)
    tail: Literal["mass", "sampled"] = "mass"


def distil(
    student: DotProductModel,
    split: Split,
    labels: SoftLabels,
    config: DistillationConfig,
    supervision: Supervision,
    training: TrainingConfig,
    *,
    seed: int,
    disliked: Interactions | None = None,
    checkpoint: Path | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> list[Epoch]:
    """Train `student` on the split's training part and on `labels`; the other arguments are those of `fit`.

    Raises SoftLabelError when the store lacks what `config` needs, or holds none of the student's queries.
    """
    modules = nn.ModuleDict({"student": student})
    if config.knowledge_weight:
        modules["projection"] = _projection(student, labels, seed)
    objective = _Objective(student, labels, config, supervision, modules)
    batches = student.batches(split.train, supervision, training.batch_size, disliked)
    return train(
        modules,
        batches=batches.epoch,
        loss=objective.loss,
        validate=validator(student, split),
        config=training,
        seed=seed,
        checkpoint=checkpoint,
        on_epoch=on_epoch,
    )


def _projection(student: DotProductModel, labels: SoftLabels, seed: int) -> nn.Linear:
    width = labels.manifest.width
    if width is None:
        raise SoftLabelError(
            f"{labels.path}: knowledge_weight needs the teacher's hidden states, which this store lacks; "
            "record them with `hidden: true`, from a teacher that has them, or set knowledge_weight to 0"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(child_seed(seed, "projection"))
        return nn.Linear(student.width, width, bias=False)


class _Objective:
    """The loss of one batch."""

    def __init__(
        self,
        student: DotProductModel,
        labels: SoftLabels,
        config: DistillationConfig,
        supervision: Supervision,
        modules: nn.ModuleDict,
    ) -> None:
        self.student, self.labels, self.config, self.supervision = student, labels, config, supervision
        self.projection = dict(modules.items()).get("projection")

    def loss(self, batch: Batch, rng: np.random.Generator) -> Mapping[str, Tensor]:
        """The total and its parts."""
        hidden = self.student.encode(batch)
        soft = self.labels.batch(self.labels.rows(batch.query_ids)).to(hidden.device)
        if self.config.alpha and not bool(soft.recorded.any()):
            raise SoftLabelError(
                f"{self.labels.path}: holds none of a batch's {len(soft)} queries; were soft labels recorded "
                "for another kind of student? Students that read histories need `queries: prefixes`, others "
                "`final`"
            )
        parts = self._over_all_items(batch, hidden, soft, rng)
        if self.config.alpha and not self.dense:
            parts["distillation"] = self._over_candidates(hidden, soft)
        if self.projection is not None:
            assert soft.hidden is not None  # _projection has seen that the store holds them
            parts["knowledge"] = self.config.knowledge_weight * knowledge(
                self.projection(hidden), soft.hidden, soft.recorded.float()
            )
        parts["loss"] = torch.stack(list(parts.values())).sum()
        return parts

    @property
    def dense(self) -> bool:
        """Whether soft labels are compared over the logits of all items, not just of the candidates."""
        return self.config.tail == "mass" or self.student.n_items <= LARGEST_DENSE

    def _over_all_items(
        self, batch: Batch, hidden: Tensor, soft: SoftBatch, rng: np.random.Generator
    ) -> dict[str, Tensor]:
        """True labels, and soft labels where `dense`, over logits that are made once for both."""
        alpha, terms, parts = self.config.alpha, list[LogitsTerm](), dict[str, Tensor]()
        if alpha < 1:
            if self.supervision.loss == "softmax":
                terms += softmax_terms(self.student, batch, self.supervision, 1 - alpha)
            else:
                parts["labels"] = (1 - alpha) * supervised_loss(self.student, batch, hidden, self.supervision, rng)
        if alpha > 0 and self.dense:
            terms.append(self._mass_term(soft) if self.config.tail == "mass" else self._sampled_term(soft))
        if terms:
            both = over_all_items(hidden, self.student.item_vectors(), self.student.item_bias(), terms)
            parts["distillation" if alpha > 0 and self.dense else "labels"] = both
        return parts

    def _mass_term(self, soft: SoftBatch) -> LogitsTerm:
        """alpha tau^2 times the mean cross-entropy against the teacher's top-K and its mass outside."""
        tau = self.config.temperature
        absolute = tau * self.labels.temperature
        share = self.config.alpha * tau**2 / max(int(soft.recorded.sum()), 1)
        log_p = soft.scores / absolute - soft.log_sum_exp_at(absolute).unsqueeze(1)
        weights = share * log_p.exp().masked_fill(~soft.mask, 0.0)  # (P, K)
        tail = (share * soft.recorded - weights.sum(1)).clamp(min=0)
        width = soft.items.shape[1]

        def term(logits: Tensor, part: slice) -> Tensor:
            rows = torch.arange(part.stop - part.start, device=logits.device).repeat_interleave(width)
            kept = soft.mask[part].flatten()
            items, w = soft.items[part].flatten()[kept], weights[part].flatten()[kept]
            return cross_entropy_(logits, rows[kept], items, w, tail=tail[part], temperature=tau)

        return term

    def _sampled_term(self, soft: SoftBatch) -> LogitsTerm:
        """What `_over_candidates` gives, its gradient put among the logits of all items: cheaper for few."""
        tau = self.config.temperature
        items, teacher, mask, probability = soft.candidates()
        log_weight = torch.where(mask, -probability.log(), -torch.inf)
        log_p = (teacher / (tau * self.labels.temperature) + log_weight).log_softmax(1)
        share = self.config.alpha * tau / max(int(soft.recorded.sum()), 1)

        def term(logits: Tensor, part: slice) -> Tensor:
            listed, kept = items[part], mask[part]
            log_s = (logits.gather(1, listed) / tau + log_weight[part]).log_softmax(1)
            p = log_p[part].exp().masked_fill(~kept, 0.0)
            value = (p * (log_p[part] - log_s)).masked_fill(~kept, 0.0).sum()
            gradient = share * (log_s.exp() - p).masked_fill(~kept, 0.0)
            logits.zero_().scatter_add_(1, listed, gradient)
            return share * tau * value

        return term

    def _over_candidates(self, hidden: Tensor, soft: SoftBatch) -> Tensor:
        """alpha tau^2 KL over listed and sampled items, only whose vectors are touched."""
        items, teacher, mask, probability = soft.candidates()
        scores = (embedding(items, self.student.item_vectors()) @ hidden.unsqueeze(2)).squeeze(2)
        bias = self.student.item_bias()
        return self.config.alpha * sampled_soft_label_kl(
            scores if bias is None else scores + bias[items],
            teacher / self.labels.temperature,
            mask,
            probability,
            temperature=self.config.temperature,
        )
