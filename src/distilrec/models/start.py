"""What a model that reads histories says to someone who has none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from distilrec.data import Interactions
from distilrec.models.base import DotProductModel
from distilrec.models.sequence import SequenceModel

__all__ = ["fit_start_", "minimise"]

PENALTY, STEPS = 1e-2, 100


def fit_start_(model: DotProductModel, train: Interactions) -> None:
    """Answer an empty history by what histories begin with, in place; all other answers stay as they are.

    A model learns what follows an item, and nothing tells it what comes first: the state of an empty history is zero.
    This finds the state s that makes the training histories' first items likeliest, by the softmax of the model's own
    item vectors v_i and biases b_i, less 1e-2 |s|^2: D numbers, a convex problem. Then the origin is moved there: s is
    taken from every state, and s . v_i added to b_i. Models without biases can't be moved; they, and those that don't
    read histories, stay as they are.
    """
    if not isinstance(model, SequenceModel):
        return
    bias = model.item_bias()
    begun = train.histories[np.flatnonzero(train.histories.lengths > 0)]
    if bias is None or len(begun) == 0:
        return
    first = np.bincount(begun.values[begun.starts], minlength=model.n_items)
    known = np.ones(model.n_items, np.bool_) if model.trained_items is None else model.trained_items
    with torch.no_grad():
        vectors, biases = model.item_vectors()[model.tensor(known)], bias[model.tensor(known)]
        model.move_origin_(_likeliest(vectors.double(), biases.double(), torch.from_numpy(first[known])).float())


def minimise(loss: Callable[[], Tensor], weights: Tensor) -> None:
    """Find the weights of a convex loss, in place."""
    optimizer = torch.optim.LBFGS([weights], max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]


def _likeliest(vectors: Tensor, biases: Tensor, counts: Tensor) -> Tensor:
    """(D,) float64: the state of the largest penalised likelihood of these counts (N,)."""
    share = counts.to(vectors) / counts.sum()
    state = torch.zeros(vectors.shape[1], dtype=torch.float64, device=vectors.device, requires_grad=True)

    def loss() -> Tensor:
        scores = torch.addmv(biases, vectors, state)
        return scores.logsumexp(0) - share @ scores + PENALTY * state.square().sum()

    minimise(loss, state)
    return state.detach()
