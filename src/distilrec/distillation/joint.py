"""Teacher and student trained together, each from the other as it stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from distilrec.data import Batch, Interactions, Split
from distilrec.distillation.offline import DistillationConfig
from distilrec.errors import RecipeError
from distilrec.losses.chunked import by_autograd, over_all_items
from distilrec.losses.feature import knowledge
from distilrec.losses.response import cross_entropy_with_logits
from distilrec.models import DotProductModel, Supervision, softmax_terms, validator
from distilrec.rng import child_seed
from distilrec.training import Epoch, TrainingConfig, train

__all__ = ["check_pair", "distil_jointly"]

LARGEST_CATALOGUE = 20_000


def distil_jointly(
    teacher: DotProductModel,
    student: DotProductModel,
    split: Split,
    config: DistillationConfig,
    supervision: Supervision,
    training: TrainingConfig,
    *,
    seed: int,
    disliked: Interactions | None = None,
    checkpoint: Path | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> list[Epoch]:
    """Train both at once; the student's validation decides when to stop.

    Each side minimises (1 - alpha) CE(y, p) + alpha tau^2 CE(stopgrad p_other, p) + lambda L_knowledge, the
    loss of the mission and its mirror image, over all items; CE(y, p) holds the dislikes, too. The hidden
    states are compared in the teacher's width; the projection learns on the student's side only. config:
    `tail` has no say here. supervision: of both.

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

    def loss(batch: Batch, _: np.random.Generator) -> Mapping[str, Tensor]:
        teacher_state, student_state = teacher.encode(batch), student.encode(batch)
        parts = {
            "student": _side(student, batch, student_state, teacher, teacher_state, config, supervision),
            "teacher": _side(teacher, batch, teacher_state, student, student_state, config, supervision),
        }
        if config.knowledge_weight:
            projected = projection(student_state)
            parts["student"] = parts["student"] + config.knowledge_weight * knowledge(projected, teacher_state)
            parts["teacher"] = parts["teacher"] + config.knowledge_weight * knowledge(teacher_state, projected)
        return parts | {"loss": parts["student"] + parts["teacher"]}

    # Both are asked, since some models take more than batches from the log; the student's are no longer.
    _, batches = (
        model.batches(split.train, supervision, training.batch_size, disliked) for model in (teacher, student)
    )
    return train(
        modules,
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
    batch: Batch,
    state: Tensor,
    other: DotProductModel,
    other_state: Tensor,
    config: DistillationConfig,
    supervision: Supervision,
) -> Tensor:
    """What a side learns from true labels and from the other's logits; nothing flows back into the other."""
    other_state, vectors, bias = other_state.detach(), other.item_vectors().detach(), other.item_bias()

    def response(logits: Tensor, part: slice) -> Tensor:
        targets = other_state[part] @ vectors.T
        targets = targets if bias is None else targets + bias.detach()
        everything = torch.ones_like(logits, dtype=torch.bool)
        share = config.alpha * len(logits) / len(state)
        return share * cross_entropy_with_logits(logits, targets, everything, temperature=config.temperature)

    terms = softmax_terms(model, batch, supervision, 1 - config.alpha) if config.alpha < 1 else []
    if config.alpha > 0:
        terms.append(by_autograd(response))
    return over_all_items(state, model.item_vectors(), model.item_bias(), terms)


def check_pair(teacher: object, student: object, supervision: Supervision) -> None:
    """Raise RecipeError unless two models, or the settings of two, can be trained jointly with this supervision."""
    if supervision.loss != "softmax":
        raise RecipeError(
            f"Joint training needs the loss 'softmax', which is over all items; given {supervision.loss!r}"
        )
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
