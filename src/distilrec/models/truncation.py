"""Making a trained model smaller without training: the control that distillation must beat."""

from __future__ import annotations

import torch

from distilrec.models.base import DotProductModel
from distilrec.models.ials import IALS
from distilrec.models.storage import quantize_, rounded

__all__ = ["truncate_"]


def truncate_(model: DotProductModel | IALS, most_bytes: int) -> tuple[int, int, int]:
    """Cut the item vectors to their principal components and round all weights to int8, in place.

    Components and loadings are rounded as `quantize_` rounds matrices. The rank is the largest whose file (item
    components, loadings, their mean and all other weights) has at most `most_bytes`, at least 1; returns the rank,
    the parameters and the bytes, which exceed the limit where the other weights alone do. Components are those of the
    centred vectors, by singular value decomposition.

    >>> from distilrec.models import MatrixFactorizationConfig, build
    >>> model = build(MatrixFactorizationConfig(embedding_size=8, item_bias=False), 10, 1000, seed=0)
    >>> rank, parameters, size = truncate_(model, most_bytes=4800)
    >>> rank, parameters, size <= 4800
    (2, 2104, True)
    """
    vectors = model.item_vectors().detach()
    mean = vectors.mean(0)
    left, values, right = torch.linalg.svd(vectors - mean, full_matrices=False)
    others = {name: value for name, value in model.serving_state().items() if name != "items"}
    for rank in range(len(values), 0, -1):
        parts = {"components": left[:, :rank] * values[:rank], "loadings": right[:rank], "mean": mean}
        cut, size = rounded({**others, **parts}, "int8")
        if size <= most_bytes:
            break
    quantize_(model, "int8")
    with torch.no_grad():
        model.item_vectors().copy_(cut["components"].float() @ cut["loadings"].float() + cut["mean"])
    return rank, sum(value.numel() for value in {**others, **parts}.values()), size
