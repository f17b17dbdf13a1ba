"""Making a trained model smaller without training: the control that distillation must beat."""

from __future__ import annotations

import torch

from distilrec.models.base import DotProductModel
from distilrec.models.storage import quantize_

__all__ = ["truncate_"]


def truncate_(model: DotProductModel, most_bytes: int) -> tuple[int, int]:
    """Cut the item vectors to their principal components and round all weights to 8 bits, in place.

    The rank is the largest that fits into `most_bytes` at one byte per number (item components, loadings and
    all other weights), at least 1; returns the rank and the bytes it takes, which exceed the limit where the
    other weights alone do. Components are those of the centred vectors, by singular value decomposition; they
    are counted at 8 bits, but not rounded, which flatters the control.

    >>> from distilrec.models import MatrixFactorizationConfig, build
    >>> model = build(MatrixFactorizationConfig(embedding_size=8, item_bias=False), 10, 100, seed=0)
    >>> truncate_(model, most_bytes=400), int(torch.linalg.matrix_rank(model.item_vectors()))
    ((2, 304), 3)
    """
    vectors = model.item_vectors().detach()
    n_items, width = vectors.shape
    others = sum(value.numel() for value in model.serving_state().values()) - vectors.numel()
    rank = max(1, min(width, (most_bytes - others - width) // (n_items + width)))
    mean = vectors.mean(0)
    left, values, right = torch.linalg.svd(vectors - mean, full_matrices=False)
    quantize_(model, "int8")
    with torch.no_grad():
        model.item_vectors().copy_(left[:, :rank] * values[:rank] @ right[:rank] + mean)
    return rank, others + width + rank * (n_items + width)
