"""Making a trained model smaller without training: controls that distillation must beat."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from distilrec.data import Interactions, final_queries
from distilrec.models.base import DotProductModel, Model
from distilrec.models.ials import IALS
from distilrec.models.matrix_factorization import MatrixFactorization, MatrixFactorizationConfig, answer_strangers_
from distilrec.models.registry import build
from distilrec.models.storage import quantize_, rounded
from distilrec.ranking import queries_at_once
from distilrec.rng import generator

__all__ = ["factorise", "truncate_"]

SWEEPS = 4  # subspace iterations


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


@torch.no_grad()
def factorise(
    model: Model, train: Interactions, config: MatrixFactorizationConfig, *, seed: int
) -> MatrixFactorization:
    """The matrix factorisation that is nearest, by squares, to what any model says at the end of users' histories.

    The truncated singular value decomposition of the scores (U, N) of all users with a training history, less each
    row's mean, which ranks nothing, and with biases less each column's, which they hold. Scores are computed in blocks
    and anew for each of SWEEPS + 1 passes, and once more for biases. Vectors are zero beyond the rank that there is.

    Source: subspace iteration with 2 D + 16 vectors, Halko, Martinsson and Tropp, SIAM Review 2011, algorithms 4.4 and
    5.1.

    >>> from distilrec.scoring import Ragged
    >>> config = MatrixFactorizationConfig(embedding_size=8)
    >>> train = Interactions(Ragged.from_rows([[number % 50] for number in range(100)]), n_items=50)
    >>> model = build(config, 100, 50, seed=0)
    >>> same, queries = factorise(model, train, config, seed=0), final_queries(train)[0]
    >>> bool((same.score(queries).argmax(1) == model.score(queries).argmax(1)).all())
    True
    """
    queries, _ = final_queries(train)
    at_once = queries_at_once(train.n_items)
    begins = range(0, len(queries), at_once)
    width = config.embedding_size
    size = min(2 * width + 16, len(queries), train.n_items)
    bias = torch.zeros(train.n_items)

    def block(begin: int) -> Tensor:
        scores = model.score(queries[begin : begin + at_once])
        return scores - scores.mean(1, keepdim=True) - bias

    if config.item_bias:
        bias = torch.stack([block(begin).sum(0) for begin in begins]).sum(0) / len(queries)
    drawn = generator(seed, "factorise").normal(size=(train.n_items, size))
    basis = torch.linalg.qr(torch.from_numpy(drawn).float()).Q
    for _ in range(SWEEPS):
        turned = torch.zeros_like(basis)
        for begin in begins:
            scores = block(begin)
            turned += scores.T @ (scores @ basis)
        basis = torch.linalg.qr(turned).Q
    left, values, right = torch.linalg.svd(torch.cat([block(begin) @ basis for begin in begins]), full_matrices=False)
    root, lacking = values[:width].sqrt(), (0, max(0, width - size))
    found = build(config, train.n_users, train.n_items, seed=seed)
    assert isinstance(found, MatrixFactorization)
    found.users[torch.from_numpy(queries.users).long()] = pad(left[:, :width] * root, lacking)
    found.items.copy_(pad(basis @ right[:width].T * root, lacking))
    if found.bias is not None:
        found.bias.copy_(bias)
    answer_strangers_(found.users, train.histories.lengths == 0)
    found.eval()
    return found
