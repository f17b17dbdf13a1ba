"""Cold items beside warm ones: how much room they get in one list, and a ridge regression to place them by content."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distilrec.data import Split
from distilrec.errors import ModelError
from distilrec.models.sequence import SequenceModel
from distilrec.models.tower import Catalogue
from distilrec.ranking import Restricted, evaluate
from distilrec.scoring import Queries, Ragged

__all__ = ["fit_offset_", "place_by_ridge_"]

QUERIES = 2_000  # of validation that an offset is fitted on
STEPS = 12
RIDGES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


def fit_offset_(model: SequenceModel, split: Split, cost: float) -> float:
    """Raise or lower all cold items' scores by one number, in place, and return it.

    It is the largest at which warm items, in one list with the cold ones, keep 1 - `cost` of the NDCG@10 on validation
    that they have among themselves: cold items get the room that this costs, and no more. The model needs biases.
    """
    assert split.cold_items is not None  # the caller has looked
    _, queries, sought = split.queries_for("validation", ~split.cold_items)
    queries, sought = queries[:QUERIES], sought[:QUERIES]
    wanted = (1 - cost) * _ndcg(Restricted(model, np.flatnonzero(~split.cold_items)), queries, sought)
    cold = torch.from_numpy(split.cold_items)
    column = _biases(model)
    with torch.inference_mode():
        spread = float(model.score(queries[:100]).std())
    low, high = -20 * spread, 20 * spread
    given = column.clone()
    for _ in range(STEPS):
        middle = (low + high) / 2
        column.copy_(torch.where(cold, given + middle, given))
        low, high = (middle, high) if _ndcg(model, queries, sought) >= wanted else (low, middle)
    column.copy_(torch.where(cold, given + low, given))
    return low


def place_by_ridge_(model: SequenceModel, catalogue: Catalogue, modalities: Sequence[str], split: Split) -> float:
    """Give the items that training never saw the vectors that a ridge regression from content expects, in place.

    The regression is from the modalities' vectors, zeros where one isn't known, to the vectors and biases of the items
    that training saw. Returns its strength, chosen of a few by NDCG@10 of cold items on validation.
    """
    assert split.cold_items is not None  # the caller has looked
    x = torch.from_numpy(_inputs(catalogue, modalities))
    trained = torch.from_numpy(catalogue.trained)
    targets = [model.items] if model.bias is None else [model.items, model.bias.unsqueeze(1)]
    y = torch.cat([target.detach() for target in targets], dim=1)
    mean = y[trained].mean(0)
    gram = (x[trained].T @ x[trained]).double()
    moments = (x[trained].T @ (y[trained] - mean)).double()
    cold = np.flatnonzero(split.cold_items)
    _, queries, sought = split.queries_for("validation", split.cold_items)
    best, chosen = -1.0, RIDGES[0]
    placed = y
    for strength in RIDGES:
        weights = torch.linalg.solve(gram + strength * torch.eye(len(gram), dtype=torch.float64), moments).float()
        expected = torch.where(trained.unsqueeze(1), y, x @ weights + mean)
        _write(model, expected)
        quality = _ndcg(Restricted(model, cold), queries, sought)
        if quality > best:
            best, chosen, placed = quality, strength, expected
    _write(model, placed)
    return chosen


def _write(model: SequenceModel, vectors: Tensor) -> None:
    with torch.no_grad():
        model.items.copy_(vectors[:, : model.items.shape[1]])
        if model.bias is not None:
            model.bias.copy_(vectors[:, -1])


def _biases(model: SequenceModel) -> Tensor:
    """(N,): the biases, of which a change counts."""
    if model.bias is not None:
        return model.bias.data
    if model.items.shape[1] == model.width:
        raise ModelError("cold items can't be given room in one list by a model without item_bias; set it to true")
    return model.items.data[:, model.width]


def _ndcg(model: SequenceModel | Restricted, queries: Queries, targets: Ragged) -> float:
    return float(evaluate(model, queries, targets)["ndcg@10"].mean())


def _inputs(catalogue: Catalogue, modalities: Sequence[str]) -> NDArray[np.float32]:
    """(N, D): each modality's vectors about their mean, scaled to a total variance of one; zeros where not known."""
    parts = []
    for name in modalities:
        features = catalogue.features[name]
        vectors = np.asarray(features.vectors, np.float32)
        fitted = vectors[features.known & catalogue.trained]
        spread = float(fitted.var(axis=0).sum()) ** 0.5
        parts.append((vectors - fitted.mean(axis=0)) / max(spread, 1e-12) * features.known[:, None])
    return np.concatenate(parts, axis=1)
