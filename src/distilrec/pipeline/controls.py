"""Controls that take a teacher as it is, and make it small without training."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from distilrec.errors import RecipeError
from distilrec.models import (
    IALS,
    DotProductModel,
    MatrixFactorizationConfig,
    VectorConfig,
    factorise,
    truncate_,
)
from distilrec.pipeline.stages import Stage
from distilrec.pipeline.task import Context, Task
from distilrec.pipeline.tasks import saved
from distilrec.ranking import evaluate
from distilrec.recipe import Student

__all__ = ["Factorise", "Truncate"]


@dataclass(frozen=True)
class Truncate(Task):
    """Cut a trained model with vectors down to the bytes of a student, without training."""

    members: tuple[Stage, ...]
    like: Stage

    def execute(self, context: Context, on_progress: Callable[[int, int, str], None]) -> Mapping[str, Any]:
        """Truncate the best member with vectors, and save; the bytes are those of its components and codes."""
        models = [model for model in map(context.model, self.members) if isinstance(model, DotProductModel | IALS)]
        if not models:
            raise RecipeError("the control 'truncated teacher' needs a member with vectors; leave it out")
        asked = context.prepared.split.queries("validation")
        best = models[0] if len(models) == 1 else max(models, key=lambda each: evaluate(each, *asked)["ndcg@10"].mean())
        rank, parameters, size = truncate_(best, int(context.store.result(self.like)["bytes"]))
        kept = saved(best, context.store.folder(self.stage))
        return {**kept, "rank": rank, "bytes": size, "parameters": parameters}


@dataclass(frozen=True)
class Factorise(Task):
    """Put what the teacher says of each user at the end of training into a student's user and item vectors."""

    teacher: Stage
    student: Student
    seed: int

    def execute(self, context: Context, on_progress: Callable[[int, int, str], None]) -> Mapping[str, Any]:
        """Factorise, and save; the seconds are those of training. Items that were held out stay unknown to it."""
        begin = time.monotonic()
        train = context.prepared.split.train
        assert isinstance(self.student.model, VectorConfig)  # what is trained has vectors
        kept = self.student.model.model_dump(include={"embedding_size", "item_bias"})
        config = MatrixFactorizationConfig.model_validate(kept)
        model = factorise(context.model(self.teacher), train, config, seed=self.seed)
        cold = context.prepared.split.cold_items
        if cold is not None:
            for part in [model.items] if model.bias is None else [model.items, model.bias]:
                part.data[torch.from_numpy(cold)] = 0.0
        return saved(model, context.store.folder(self.stage), student=self.student, seconds=time.monotonic() - begin)
