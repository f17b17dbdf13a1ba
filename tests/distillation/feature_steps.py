"""One training step, for tests of terms by themselves."""

from __future__ import annotations

import numpy as np
import torch

from distilrec.data import Split
from distilrec.distillation.method import Setting, Step
from distilrec.models import DotProductModel, Supervision
from distilrec.soft_labels import SoftLabels


def setting_of(student: DotProductModel, data: Split, labels: SoftLabels) -> Setting:
    """With seed 0."""
    return Setting(student, data.train, labels, 0)


def first_step(
    student: DotProductModel, data: Split, labels: SoftLabels, batch_size: int = 16, epoch: int = 1, seed: int = 0
) -> Step:
    """The first batch of an epoch."""
    batch = next(iter(student.batches(data.train, Supervision(), batch_size).epoch(np.random.default_rng(0))))
    rows = labels.rows(batch.query_ids)
    rng = np.random.default_rng(seed)
    soft, ones = labels.batch(rows), torch.ones(len(rows))
    return Step(student, labels, batch, student.encode(batch), rows, soft, ones, epoch, rng)
