"""Teacher and student trained together, each from the other as it stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from distilrec.data import Batch, Interactions, Split
from distilrec.distillation.bidirectional import BD, bidirectional
from distilrec.distillation.offline import DistillationConfig
from distilrec.distillation.weights import query_weights
from distilrec.errors import RecipeError
from distilrec.losses.chunked import by_autograd, over_all_items
from distilrec.losses.feature import knowledge
from distilrec.losses.response import cross_entropy_with_logits
from distilrec.models import DotProductModel, Supervision, look_up, softmax_terms, validator
from distilrec.models.fitting import train_model
from distilrec.rng import child_seed
from distilrec.training import Epoch, TrainingConfig

__all__ = ["BD", "AnyJointMethod", "Mutual", "check_pair", "distil_jointly"]

LARGEST_CATALOGUE = 20_000


class Mutual(BaseModel):
    """Mutual learning: each side learns the other's distribution over all items, tau^2 CE(stopgrad p_other, p).

    tau: the `temperature` of the distillation.

    Source: Zhang, Xiang, Hospedales and Lu, Deep Mutual Learning, CVPR 2018, whose KL has the same gradient.
    Deviations: two models only; both take one step together, from the same forward pass (theirs take turns); alpha
    divides the loss between labels and the other side, and there is a temperature (theirs: a plain sum at tau 1).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["mutual"] = "mutual"


AnyJointMethod: TypeAlias = Annotated[Mutual | BD, Field(discriminator="method")]

# The default, made once.
MUTUAL = Mutual()


def distil_jointly(
    teacher: DotProductModel,
    student: DotProductModel,
    split: Split,
    config: DistillationConfig,
    supervision: Supervision,
    training: TrainingConfig,
    *,
    seed: int,
    method: Mutual | BD = MUTUAL,
    disliked: Interactions | None = None,
    checkpoint: Path | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> list[Epoch]:
    """Train both at once; the student's validation decides when to stop.

    Each side minimises (1 - alpha) CE(y, p) + alpha L_method + lambda L_knowledge, with CE(y, p) over all items and
    dislikes. method: what the sides learn from each other; by default `Mutual`, which makes it the loss of the mission
    and its mirror image. The hidden states are compared in the teacher's width; the projection learns on the student's
    side only. config: `tail` and `methods` have no say here, and `temperature` is that of `Mutual`. supervision: of
    both.

    Both must read the same batches: two models that look users up, or two that read histories, the teacher's
    at least as long as the student's. Raises RecipeError if they can't, where the loss isn't softmax over all items,
    or above 20,000 items, where that takes too long for two models: record the teacher instead.
    """
    check_pair(teacher, student, supervision)
    if student.n_items > LARGEST_CATALOGUE:
        raise RecipeError(
            f"Joint training scores all items for both models, at most {LARGEST_CATALOGUE}; these data have "
            f"{student.n_items}: record the teacher and distil offline"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(child_seed(seed, "projection"))
        projection = nn.Linear(student.width, teacher.width, bias=False)
    modules = nn.ModuleDict({"teacher": teacher, "student": student, "projection": projection})

    mutual = isinstance(method, Mutual)

    def loss(batch: Batch, rng: np.random.Generator) -> Mapping[str, Tensor]:
        teacher_state, student_state = teacher.encode(batch), student.encode(batch)
        weights = student.tensor(query_weights(split.train, batch.query_ids))
        of_both = batch, weights, config, supervision, mutual
        parts = {
            "student": _side(student, student_state, teacher, teacher_state, *of_both),
            "teacher": _side(teacher, teacher_state, student, student_state, *of_both),
        }
        if isinstance(method, BD) and config.alpha > 0:
            items = np.sort(rng.choice(student.n_items, min(method.sample, student.n_items), replace=False))
            own, others = _scores(student, student_state, items), _scores(teacher, teacher_state, items)
            for side, pull in zip(
                parts, bidirectional(own, others, weights, student.n_items, method, rng), strict=True
            ):
                parts[side] = parts[side] + config.alpha * pull
        if config.knowledge_weight:
            projected = projection(student_state)
            parts["student"] = parts["student"] + config.knowledge_weight * knowledge(projected, teacher_state, weights)
            parts["teacher"] = parts["teacher"] + config.knowledge_weight * knowledge(teacher_state, projected, weights)
        return parts | {"loss": parts["student"] + parts["teacher"]}

    # Both are asked, since some models take more than batches from the log; the student's are no longer.
    _, batches = (
        model.batches(split.train, supervision, training.batch_size, disliked) for model in (teacher, student)
    )
    return train_model(
        modules,
        student,
        split.train,
        batches=batches.epoch,
        loss=loss,
        validate=validator(student, split, training.metric),
        config=training,
        seed=seed,
        checkpoint=checkpoint,
        on_epoch=on_epoch,
    )


def _side(
    model: DotProductModel,
    state: Tensor,
    other: DotProductModel,
    other_state: Tensor,
    batch: Batch,
    weights: Tensor,
    config: DistillationConfig,
    supervision: Supervision,
    mutual: bool,
) -> Tensor:
    """What a side learns over all items: true labels and, if `mutual`, the other's logits; nothing flows back there.

    weights: (P,), of the queries.
    """
    total = float(weights.sum()) or 1.0
    other_state, vectors, bias = other_state.detach(), other.item_vectors().detach(), other.item_bias()

    def response(logits: Tensor, part: slice) -> Tensor:
        targets = other_state[part] @ vectors.T
        targets = targets if bias is None else targets + bias.detach()
        everything = torch.ones_like(logits, dtype=torch.bool)
        w = weights[part]
        share = config.alpha * float(w.sum()) / total
        return share * cross_entropy_with_logits(logits, targets, everything, temperature=config.temperature, weights=w)

    terms = softmax_terms(model, batch, supervision, 1 - config.alpha) if config.alpha < 1 else []
    if config.alpha > 0 and mutual:
        terms.append(by_autograd(response))
    if not terms:
        return state.new_zeros(())
    return over_all_items(state, model.item_vectors(), model.item_bias(), terms)


def _scores(model: DotProductModel, state: Tensor, items: NDArray[np.int64]) -> Tensor:
    """(P, M): scores of the items (M,) for states (P, D)."""
    places, bias = model.tensor(items), model.item_bias()
    scores = state @ look_up(model.item_vectors(), places).T
    return scores if bias is None else scores + look_up(bias, places)


def check_pair(teacher: object, student: object, supervision: Supervision) -> None:
    """Raise RecipeError unless two models, or the settings of two, can be trained jointly with this supervision."""
    if supervision.loss != "softmax":
        raise RecipeError(
            f"Joint training needs the loss 'softmax', which is over all items; given {supervision.loss!r}"
        )
    for side in (teacher, student):
        content = getattr(getattr(side, "config", side), "content", None)
        if content is not None and content.new_only:
            raise RecipeError("Joint training doesn't place new items; leave content.new_only out, or distil offline")
    lengths = [getattr(side, "history_length", None) for side in (teacher, student)]
    if (lengths[0] is None) != (lengths[1] is None):
        raise RecipeError(
            f"Joint training needs two models that read histories or two that look users up; given "
            f"{type(teacher).__name__} and {type(student).__name__}: distil offline instead"
        )
    if lengths[0] is not None and lengths[0] < lengths[1]:
        raise RecipeError(
            f"Joint training: the teacher reads {lengths[0]} items, the student {lengths[1]}; give the teacher a "
            "history_length of at least the student's"
        )
