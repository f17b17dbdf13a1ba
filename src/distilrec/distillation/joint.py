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
from distilrec.losses.feature import knowledge
from distilrec.losses.mission import combine
from distilrec.losses.response import cross_entropy_with_logits
from distilrec.losses.supervised import softmax_cross_entropy
from distilrec.models import DotProductModel, SequenceModel, Supervision, validator
from distilrec.rng import child_seed
from distilrec.training import Epoch, TrainingConfig, train

__all__ = ["distil_jointly"]

LARGEST_CATALOGUE = 20_000


def distil_jointly(
    teacher: DotProductModel,
    student: DotProductModel,
    split: Split,
    config: DistillationConfig,
    training: TrainingConfig,
    *,
    seed: int,
    disliked: Interactions | None = None,
    checkpoint: Path | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> list[Epoch]:
    """Train both at once; the student's validation decides when to stop.

    Each side minimises (1 - alpha) CE(y, p) + alpha tau^2 CE(stopgrad p_other, p) + lambda L_knowledge, the loss of the
    mission and its mirror image, over all items. The hidden states are compared in the teacher's width; the
    projection learns on the student's side only.

    Both must read the same batches: two models that look users up, or two that read histories, the teacher's at least
    as long as the student's. Raises RecipeError if they can't, or above 20,000 items, where softmax over all items
    for two models is out of reach: record the teacher instead.
    """
    _check(teacher, student)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(child_seed(seed, "projection"))
        projection = nn.Linear(student.width, teacher.width, bias=False)
    modules = nn.ModuleDict({"teacher": teacher, "student": student, "projection": projection})

    def loss(batch: Batch, rng: np.random.Generator) -> Mapping[str, Tensor]:
        teacher_state, student_state = teacher.encode(batch), student.encode(batch)
        teacher_logits, student_logits = _logits(teacher, teacher_state), _logits(student, student_state)
        projected = projection(student_state)
        parts = {
            "student": _side(student, batch, student_logits, teacher_logits, projected, teacher_state, config),
            "teacher": _side(teacher, batch, teacher_logits, student_logits, teacher_state, projected, config),
        }
        return parts | {"loss": parts["student"] + parts["teacher"]}

    return train(
        modules,
        batches=student.batches(split.train, Supervision(), training.batch_size, disliked).epoch,
        loss=loss,
        validate=validator(student, split),
        config=training,
        seed=seed,
        checkpoint=checkpoint,
        on_epoch=on_epoch,
    )


def _side(
    model: DotProductModel,
    batch: Batch,
    logits: Tensor,
    other_logits: Tensor,
    state: Tensor,
    other_state: Tensor,
    config: DistillationConfig,
) -> Tensor:
    """The loss of one side; nothing flows back into the other."""
    everything = torch.ones_like(logits, dtype=torch.bool)
    rows, items, weights = model.tensor(batch.rows), model.tensor(batch.items), model.tensor(batch.weights)
    supervised = softmax_cross_entropy(logits, rows, items, weights)
    response = cross_entropy_with_logits(logits, other_logits.detach(), everything, temperature=config.temperature)
    feature = knowledge(state, other_state.detach()) if config.knowledge_weight else None
    return combine(
        supervised, response, feature, alpha=config.alpha, knowledge_weight=config.knowledge_weight
    )


def _logits(model: DotProductModel, state: Tensor) -> Tensor:
    logits, bias = state @ model.item_vectors().T, model.item_bias()
    return logits if bias is None else logits + bias


def _check(teacher: DotProductModel, student: DotProductModel) -> None:
    if student.n_items > LARGEST_CATALOGUE:
        raise RecipeError(
            f"Joint training scores all items for both models, at most {LARGEST_CATALOGUE}; these data have "
            f"{student.n_items}: record the teacher and distil offline"
        )
    if isinstance(teacher, SequenceModel) != isinstance(student, SequenceModel):
        raise RecipeError(
            f"Joint training needs two models that read histories or two that look users up; given "
            f"{type(teacher).__name__} and {type(student).__name__}: distil offline instead"
        )
    if isinstance(teacher, SequenceModel) and isinstance(student, SequenceModel):
        if teacher.history_length < student.history_length:
            raise RecipeError(
                f"Joint training: the teacher reads {teacher.history_length} items, the student "
                f"{student.history_length}; give the teacher a history_length of at least the student's"
            )
