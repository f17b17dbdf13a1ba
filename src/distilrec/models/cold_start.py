"""Cold items beside warm ones: how much room they get in one list, and a ridge regression to place them by content."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from distilrec.data import Split
from distilrec.errors import ModelError
from distilrec.models.ridge import Ridge
from distilrec.models.sequence import SequenceModel
from distilrec.models.start import minimise
from distilrec.models.tower import Catalogue
from distilrec.ranking import Restricted, evaluate, queries_at_once
from distilrec.scoring import Queries, Ragged

__all__ = ["fit_room_", "place_by_ridge_"]

QUERIES = 2_000  # of validation, that room is fitted on
STEPS = 12
SHIFT_PENALTY = 1e-4
MIN = -1e4  # of a log-sum-exp: who has taken all warm items has no logit
RIDGES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


def fit_room_(model: SequenceModel, split: Split, cost: float) -> float:
    """Give cold items room in one list with the others: add a vector to those of all of them, and a number, in place.

    Both are fitted on validation. The vector w says which histories lead to cold items at all, of which true labels
    never speak: with it, and a constant, the softmax over all items that a user hasn't taken gives cold ones together
    the share of the largest likelihood, among queries that seek one and queries that don't; a logistic regression from
    the difference of both sides' log-sum-exp of scores, and the state. Then the number, which is returned, is the
    largest at which warm items keep 1 - `cost` of the NDCG@10 that they have among themselves: cold items get the room
    that this costs, and no more. Items that come later get the same. Raises ModelError where items have no biases.
    """
    assert split.cold_items is not None  # the caller has looked
    biases = _biases(model)
    _, queries, sought = split.queries_for("validation", ~split.cold_items)
    queries, sought = queries[:QUERIES], sought[:QUERIES]
    cold = torch.from_numpy(split.cold_items)
    wanted = (1 - cost) * _ndcg(Restricted(model, np.flatnonzero(~split.cold_items)), queries, sought)
    shift = _shift(model, split)
    model.items.data[cold, : model.width] += shift
    with torch.inference_mode():
        spread = float(model.score(queries[:100]).std())
    low, high = -20 * spread, 20 * spread
    given = biases.clone()
    for _ in range(STEPS):
        middle = (low + high) / 2
        biases.copy_(torch.where(cold, given + middle, given))
        low, high = (middle, high) if _ndcg(model, queries, sought) >= wanted else (low, middle)
    biases.copy_(torch.where(cold, given + low, given))
    if model.tower is not None:
        model.tower.add_to_new_(torch.cat([shift, torch.tensor([low])]))
    return low


def _shift(model: SequenceModel, split: Split) -> Tensor:
    """(D,): w of `fit_room_`, of the largest likelihood with a slight penalty."""
    assert split.cold_items is not None
    states, ahead, seeks = [], [], []
    for these, seeking in ((split.cold_items, 1.0), (~split.cold_items, 0.0)):
        _, queries, _ = split.queries_for("validation", these)
        for part in _parts(queries[:QUERIES], model.n_items):
            hidden, margin = _share(model, part, split.cold_items)
            states.append(hidden)
            ahead.append(margin)
            seeks.append(torch.full_like(margin, seeking))
    h, margin, target = (torch.cat(each) for each in (states, ahead, seeks))
    weights = torch.zeros(h.shape[1] + 1, dtype=torch.float64, requires_grad=True)

    def loss() -> Tensor:
        logits = margin + h @ weights[:-1] + weights[-1]
        return binary_cross_entropy_with_logits(logits, target) + SHIFT_PENALTY * weights[:-1].square().sum()

    minimise(loss, weights)
    return weights.detach()[:-1].float()


@torch.inference_mode()
def _share(model: SequenceModel, queries: Queries, cold: NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
    """(B, D) states and (B,): the logit of cold items' share of the softmax, without what each query has taken."""
    hidden = model.hidden(queries)
    scores = torch.addmm(_biases(model), hidden, model.item_vectors().T)
    rows, taken = (torch.from_numpy(each.astype(np.int64)) for each in queries.masked.flat())
    scores[rows, taken] = -torch.inf
    sides = [scores[:, torch.from_numpy(side)].logsumexp(1).clamp(min=MIN) for side in (cold, ~cold)]
    return hidden.double(), (sides[0] - sides[1]).double()


def _parts(queries: Queries, n_items: int) -> Iterator[Queries]:
    size = queries_at_once(n_items)
    for begin in range(0, len(queries), size):
        yield queries[begin : begin + size]


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
    ridge = Ridge([x[trained]], y[trained])
    cold = np.flatnonzero(split.cold_items)
    _, queries, sought = split.queries_for("validation", split.cold_items)
    best, chosen = -1.0, RIDGES[0]
    placed = y
    for strength in RIDGES:
        weights, mean = ridge.solve(strength)
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
