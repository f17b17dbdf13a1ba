"""Training a student on true labels and on soft labels recorded before; the teacher isn't needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import embedding

from distilrec.data import Batch, Interactions, Split, final_queries, prefix_queries
from distilrec.distillation.method import Setting, Step
from distilrec.distillation.methods import KL, AnyMethod
from distilrec.distillation.ranks import left_out
from distilrec.distillation.weights import query_weights
from distilrec.errors import SoftLabelError
from distilrec.losses.chunked import LogitsTerm, cross_entropy_, over_all_items
from distilrec.losses.feature import knowledge
from distilrec.losses.response import sampled_soft_label_kl
from distilrec.models import DotProductModel, SequenceModel, Supervision, softmax_terms, supervised_loss, validator
from distilrec.models.fitting import RowParts, train_model
from distilrec.rng import child_seed
from distilrec.soft_labels import SoftBatch, SoftLabels
from distilrec.training import Epoch, TrainingConfig

__all__ = ["DistillationConfig", "distil"]

# Up to so many items, a product with all item vectors is quicker than gathering those of the candidates.
LARGEST_DENSE = 20_000


class DistillationConfig(BaseModel):
    """How true labels, soft labels and hidden states are mixed.

    loss = (1 - alpha) * true labels + alpha * sum of weight * method + knowledge_weight * hidden states.

    alpha: in [0, 1]; 0 is the student alone. temperature: times the one that was fitted on validation when
    the teacher was recorded; one of those on the recording's grid. knowledge_weight: lambda; above 0 the
    store must hold hidden states. tail: what stands for the items that the teacher didn't list: `mass`, all of them
    together as one class, with the student's softmax over all items but those that the recording left out, as is the
    teacher's; `sampled`, the store's sample of them, with a softmax over listed and sampled items only, which is also
    the cheaper one for large catalogues. methods: how the student learns from the
    teacher, of `distilrec.distillation.methods`, each with a weight; by default `kl` alone, temperature^2 times the
    divergence from the soft labels. `temperature` and `tail` are those of `kl`.

    Where the log has sample weights, a query counts in the means of soft labels and hidden states as the interaction
    weighs that it predicts; at the end of a history, and of a user who is looked up, as the user's interactions weigh
    on average. What methods learn about items by themselves, or of pairs (`ftd`, `htd`), is not weighed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    alpha: float = Field(default=0.5, ge=0, le=1)
    temperature: float = Field(default=1.0, gt=0)
    knowledge_weight: float = Field(default=0.0, ge=0)
    tail: Literal["mass", "sampled"] = "mass"
    methods: tuple[AnyMethod, ...] = Field(default=(KL(),), min_length=1)

    @model_validator(mode="after")
    def _methods_differ(self) -> Self:
        names = [method.name for method in self.methods]
        if len(set(names)) < len(names):
            raise ValueError(f"methods: each may be given once; given {', '.join(names)}")
        return self


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
    members: Mapping[str, tuple[SoftLabels, ...]] | None = None,
    checkpoint: Path | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> list[Epoch]:
    """Train `student` on the split's training part and on `labels`; the other arguments are those of `fit`.

    members: of the teacher, by name, for methods that learn from several: the recordings of each, from its earliest
    checkpoint to the finished model.

    The student may know items that the teacher didn't, with larger numbers than all of the teacher's. Then soft labels
    speak of the teacher's items among themselves, and alpha times the true labels say which of the new ones is taken,
    or none of them (docs/decisions/refresh.md).
    Raises SoftLabelError when the store lacks what `config` needs, holds none of the student's queries, or speaks of
    items that the student doesn't know.
    """
    modules = nn.ModuleDict({"student": student})
    if config.knowledge_weight:
        modules["projection"] = _projection(student, labels, seed)
    if config.alpha:
        setting = Setting(student, split.train, labels, seed, members or {})
        for method in config.methods:
            method.check(setting)
        terms = {method.name: method.term(setting) for method in config.methods}
        modules["methods"] = nn.ModuleDict({name: term for name, term in terms.items() if term is not None})
    if config.alpha or config.knowledge_weight:
        ids = _query_ids(student, split.train)
        for store in (labels, *(store for recordings in (members or {}).values() for store in recordings)):
            _check_store(student, ids, store)
    objective = _Objective(student, split.train, labels, config, supervision, modules, members)
    known = _known_without_history(split.train, labels)
    batches = student.batches(split.train, supervision, training.batch_size, disliked, known)
    return train_model(
        modules,
        student,
        split.train,
        batches=batches.epoch,
        loss=objective.loss,
        validate=validator(student, split, training.metric),
        config=training,
        seed=seed,
        checkpoint=checkpoint,
        on_epoch=objective.after(on_epoch),
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


def _query_ids(student: DotProductModel, train: Interactions) -> NDArray[np.int64]:
    """The numbers of the queries that the student trains on."""
    if isinstance(student, SequenceModel):
        return prefix_queries(train, student.history_length)[1]
    return final_queries(train)[1]


def _known_without_history(train: Interactions, labels: SoftLabels) -> NDArray[np.bool_] | None:
    """(U,) bool: users of whom the labels tell although they have no training history; None where there are none."""
    users = np.flatnonzero(train.histories.lengths == 0)
    known = np.zeros(train.n_users, np.bool_)
    known[users] = labels.rows(len(train.histories.values) + users) >= 0
    return known if known.any() else None


def _check_store(student: DotProductModel, ids: NDArray[np.int64], labels: SoftLabels) -> None:
    """Refuse a store of unknown items, or without any of these queries; what it lacks learns from true labels."""
    known = labels.manifest.n_items
    if known > student.n_items:
        raise SoftLabelError(
            f"{labels.path}: speaks of {known} items, and the student knows {student.n_items}; "
            "record the teacher on the student's catalogue"
        )
    if (labels.rows(ids) < 0).all():
        raise SoftLabelError(
            f"{labels.path}: holds none of the student's {len(ids):,} queries; were soft labels recorded for another "
            "kind of student? Students that read histories need `queries: prefixes`, others `final`"
        )


class _Objective:
    """The loss of one batch."""

    def __init__(
        self,
        student: DotProductModel,
        log: Interactions,
        labels: SoftLabels,
        config: DistillationConfig,
        supervision: Supervision,
        modules: nn.ModuleDict,
        members: Mapping[str, tuple[SoftLabels, ...]] | None = None,
    ) -> None:
        self.student, self.log, self.labels, self.members = student, log, labels, members or {}
        self.config, self.supervision = config, supervision
        parts = dict(modules.items())
        self.projection = parts.get("projection")
        self.terms = dict(parts["methods"].named_children()) if "methods" in parts else {}
        self.epoch = 1
        self.known = labels.manifest.n_items  # what comes after was unknown to the teacher

    def after(self, on_epoch: Callable[[Epoch], None] | None) -> Callable[[Epoch], None]:
        """`on_epoch`, and the count of epochs goes on, through those before an interruption, too."""

        def report(epoch: Epoch) -> None:
            self.epoch = epoch.number + 1
            if on_epoch is not None:
                on_epoch(epoch)

        return report

    def loss(self, batch: Batch, rng: np.random.Generator) -> Mapping[str, Tensor]:
        """The total and its parts."""
        hidden = self.student.encode(batch)
        rows = self.labels.rows(batch.query_ids)
        soft = self.labels.batch(rows).to(hidden.device)
        weights = self.student.tensor(query_weights(self.log, batch.query_ids))
        parts = self._over_all_items(batch, hidden, soft, weights, rows, rng)
        if self.soft_weight and not self.dense:
            parts["distillation"] = self._over_candidates(hidden, soft, weights)
        if self.projection is not None:
            assert soft.hidden is not None  # _projection has seen that the store holds them
            parts["knowledge"] = self.config.knowledge_weight * knowledge(
                self.projection(hidden), soft.hidden, weights * soft.recorded
            )
        step = Step(self.student, self.labels, batch, hidden, rows, soft, weights, self.epoch, rng, self.members)
        for method in self.config.methods:
            weight = self.config.alpha * method.weight_at(self.epoch)
            if weight and method.name in self.terms:
                parts[method.name] = weight * self.terms[method.name](step)
        # In an epoch in which a schedule gives nothing any weight, nothing is learned.
        parts["loss"] = torch.stack(list(parts.values()) or [0.0 * hidden.sum()]).sum()
        return parts

    @property
    def soft_weight(self) -> float:
        """Of the divergence from the soft labels, in this epoch."""
        return self.config.alpha * sum(m.weight_at(self.epoch) for m in self.config.methods if isinstance(m, KL))

    @property
    def dense(self) -> bool:
        """Whether soft labels are compared over the logits of all items, not just of the candidates."""
        return self.config.tail == "mass" or self.student.n_items <= LARGEST_DENSE

    def _over_all_items(
        self,
        batch: Batch,
        hidden: Tensor,
        soft: SoftBatch,
        weights: Tensor,
        rows: NDArray[np.int64],
        rng: np.random.Generator,
    ) -> dict[str, Tensor]:
        """True labels, and soft labels where `dense`, over logits that are made once for both."""
        alpha, soft_weight = self.config.alpha, self.soft_weight
        terms: list[LogitsTerm] = []
        parts: dict[str, Tensor] = {}
        if alpha < 1:
            if self.supervision.loss == "softmax":
                terms += softmax_terms(self.student, batch, self.supervision, 1 - alpha)
            else:
                parts["labels"] = (1 - alpha) * supervised_loss(self.student, batch, hidden, self.supervision, rng)
        if soft_weight > 0 and self.dense:
            by_mass = self.config.tail == "mass"
            terms.append(self._mass_term(soft, weights, rows) if by_mass else self._sampled_term(soft, weights))
        if alpha > 0 and self.known < self.student.n_items:
            terms.append(self._new_items_term(batch))
        if terms:
            both = over_all_items(hidden, self.student.item_vectors(), self.student.item_bias(), terms)
            parts["distillation" if soft_weight > 0 and self.dense else "labels"] = both
        return parts

    def _mass_term(self, soft: SoftBatch, of_queries: Tensor, recorded: NDArray[np.int64]) -> LogitsTerm:
        """alpha tau^2 times the mean cross-entropy against the teacher's top-K and its mass outside.

        of_queries: (P,), their sample weights. recorded: (P,), the row of each query in the store.
        """
        tau = self.config.temperature
        absolute = tau * self.labels.temperature
        share = self.soft_weight * tau**2 / _total(of_queries, soft) * of_queries
        log_p = soft.scores / absolute - soft.log_sum_exp_at(absolute).unsqueeze(1)
        weights = share.unsqueeze(1) * log_p.exp().masked_fill(~soft.mask, 0.0)  # (P, K)
        tail = (share * soft.mask.any(1) - weights.sum(1)).clamp(min=0)
        width = soft.items.shape[1]
        listed = np.where(soft.mask.any(1).cpu().numpy(), recorded, -1)
        seen_before = left_out(self.log, self.labels, listed)
        untold = self.labels.left_out
        never = None if untold is None else torch.from_numpy(untold).to(weights.device)

        def term(logits: Tensor, part: slice) -> Tensor:
            rows = torch.arange(part.stop - part.start, device=logits.device).repeat_interleave(width)
            kept = soft.mask[part].flatten()
            items, w = soft.items[part].flatten()[kept], weights[part].flatten()[kept]
            known = logits if self.known == logits.shape[1] else logits[:, : self.known].clone()
            owners, seen = seen_before[part].flat()
            keys = (owners * self.known + seen)[seen < self.known]
            known.view(-1).index_fill_(0, torch.from_numpy(keys).to(logits.device), -torch.inf)
            if never is not None:
                known.masked_fill_(never, -torch.inf)
            value = cross_entropy_(known, rows[kept], items, w, tail=tail[part], temperature=tau)
            if known is not logits:
                logits.zero_()[:, : self.known] = known
            return value

        return term

    def _new_items_term(self, batch: Batch) -> LogitsTerm:
        """alpha times the cross-entropy of the true labels, all items that the teacher knew being one class."""
        weights = self.config.alpha * batch.weights / max(batch.weights.sum(), 1e-12)
        targets = RowParts(self.student, batch.rows, batch.items, weights)

        def term(logits: Tensor, part: slice) -> Tensor:
            rows, items, w = targets.of(part)
            known, new = logits[:, : self.known], logits[:, self.known :]
            together = known.logsumexp(1, keepdim=True)
            classes = torch.cat([together, new], dim=1)  # (p, 1 + new items)
            value = cross_entropy_(classes, rows, (items - self.known + 1).clamp(min=0), w)
            known.sub_(together).exp_().mul_(classes[:, :1])
            new.copy_(classes[:, 1:])
            return value

        return term

    def _sampled_term(self, soft: SoftBatch, of_queries: Tensor) -> LogitsTerm:
        """What `_over_candidates` gives, its gradient put among the logits of all items: cheaper for few."""
        tau = self.config.temperature
        items, teacher, mask, probability = soft.candidates()
        log_weight = torch.where(mask, -probability.log(), -torch.inf)
        log_p = (teacher / (tau * self.labels.temperature) + log_weight).log_softmax(1)
        share = self.soft_weight * tau / _total(of_queries, soft)

        def term(logits: Tensor, part: slice) -> Tensor:
            listed, kept, w = items[part], mask[part], of_queries[part].unsqueeze(1)
            log_s = (logits.gather(1, listed) / tau + log_weight[part]).log_softmax(1)
            p = log_p[part].exp().masked_fill(~kept, 0.0)
            value = w * (p * (log_p[part] - log_s)).masked_fill(~kept, 0.0)
            gradient = share * w * (log_s.exp() - p).masked_fill(~kept, 0.0)
            logits.zero_().scatter_add_(1, listed, gradient)
            return share * tau * value.sum()

        return term

    def _over_candidates(self, hidden: Tensor, soft: SoftBatch, weights: Tensor) -> Tensor:
        """alpha tau^2 KL over listed and sampled items, only whose vectors are touched."""
        items, teacher, mask, probability = soft.candidates()
        scores = (embedding(items, self.student.item_vectors()) @ hidden.unsqueeze(2)).squeeze(2)
        bias = self.student.item_bias()
        return self.soft_weight * sampled_soft_label_kl(
            scores if bias is None else scores + bias[items],
            teacher / self.labels.temperature,
            mask,
            probability,
            temperature=self.config.temperature,
            weights=weights,
        )


def _total(weights: Tensor, soft: SoftBatch) -> float:
    """What the recorded queries weigh together; 1 where that is nothing."""
    return float((weights * soft.recorded).sum()) or 1.0
