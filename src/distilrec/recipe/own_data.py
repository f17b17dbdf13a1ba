"""A recipe for a user's own data."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from distilrec.data import DataConfig, Prepared
from distilrec.recipe.schema import Recipe

__all__ = ["recipe_for"]


def recipe_for(data: DataConfig, prepared: Prepared) -> Recipe:
    """A recipe for someone's own data: a strong teacher that fits their size, and a light student.

    The teacher's members read histories; EASE joins where its items x items matrix stays below 400 MB. The student
    reads histories, too, so new users are served at once.
    """
    lengths = prepared.split.train.histories.lengths
    length = int(np.clip(2 ** np.ceil(np.log2(max(np.quantile(lengths, 0.9), 2))), 16, 128))
    training = {"batch_size": 64, "learning_rate": 2e-3, "epochs": 100, "patience": 5}
    shared = {"history_length": length, "dropout": 0.4}
    teacher: list[dict[str, object]] = [
        {"name": "encoder", "model": {"model": "history_encoder", **shared}, "training": training},
        {"name": "sasrec", "model": {"model": "sasrec", **shared}, "training": training},
    ]
    if prepared.dataset.interactions.n_items <= 10_000:
        teacher.append({"name": "ease", "model": {"model": "ease", "recency_half_life": 20}})
    student = {"model": "history_encoder", "embedding_size": 16, "history_length": length, "dropout": 0.1}
    content = {
        "name": Path(data.source).stem,
        "data": data,
        "teacher": teacher,
        "student": {"model": student},
        "alone": {"training": training},
        "distilled": {"training": training, "distillation": {"alpha": 1.0, "temperature": 2.0, "tail": "sampled"}},
        "evaluation": {"seeds": 3, "controls": ["recency-weighted", "shuffled teacher"], "widths": [8, 32]},
    }
    return Recipe.model_validate(content)
