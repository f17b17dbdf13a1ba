"""Training a model on the true labels alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from itertools import chain, count, islice
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import softplus

from distilrec.data import Batch, Interactions, Split
from distilrec.errors import ModelError
from distilrec.losses.chunked import LogitsTerm, by_autograd, cross_entropy_, over_all_items
from distilrec.losses.supervised import (
    binary_cross_entropy,
    bpr,
    sampled_softmax_cross_entropy,
    unlikelihood,
)
from distilrec.models.base import DotProductModel, Supervision
from distilrec.models.pairs import look_up, pair_scores
from distilrec.models.sequence import SequenceModel
from distilrec.models.start import fit_start_
from distilrec.ranking import evaluate
from distilrec.rng import child_seed, generator
from distilrec.training import Epoch, TrainingConfig, train

__all__ = ["RowParts", "fit", "softmax_terms", "supervised_loss", "train_model", "validator"]

PLACING_STEPS, PLACING_RATE = 100, 2e-4
Loss: TypeAlias = Callable[[Batch, np.random.Generator], Mapping[str, Tensor]]


def fit(
    model: DotProductModel,
    split: Split,
    supervision: Supervision,
    training: TrainingConfig,
    *,
    seed: int,
    disliked: Interactions | None = None,
    checkpoint: Path | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_weights: Callable[[int, Mapping[str, Tensor]], None] | None = None,
) -> list[Epoch]:
    """Train `model` on the split's training part until its validation quality, by `training.metric`, stops improving.

    Then it is taught what to answer to an empty history, and where new items belong, as `train_model` says.

    disliked: explicit negative feedback of the training part. The other arguments are `train`'s.
    """
    batches = model.batches(split.train, supervision, training.batch_size, disliked)
    return train_model(
        model,
        model,
        split.train,
        batches=batches.epoch,
        loss=lambda batch, rng: {"loss": supervised_loss(model, batch, model.encode(batch), supervision, rng)},
        validate=validator(model, split, training.metric),
        config=training,
        seed=seed,
        checkpoint=checkpoint,
        on_epoch=on_epoch,
        on_weights=on_weights,
    )


def train_model(
    modules: nn.Module,
    model: DotProductModel,
    log: Interactions,
    *,
    batches: Callable[[np.random.Generator], Iterable[Batch]],
    loss: Loss,
    validate: Callable[[], float],
    config: TrainingConfig,
    seed: int,
    checkpoint: Path | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_weights: Callable[[int, Mapping[str, Tensor]], None] | None = None,
) -> list[Epoch]:
    """`train`, and then teach `model`, one of the modules, what it can learn once that is done.

    That is what to answer to an empty history, and where items belong of which it will know the content alone. The
    latter takes a hundred steps more of the same loss, in which nothing but the maps of content is learned; few, since
    nothing tells here when new items would begin to suffer. The epochs that are returned are those before. Raises
    ModelError where the loss says nothing of items, so that new ones can't be placed by it.
    """
    epochs = train(
        modules,
        batches=batches,
        loss=loss,
        validate=validate,
        config=config,
        seed=seed,
        checkpoint=checkpoint,
        on_epoch=on_epoch,
        on_weights=on_weights,
    )
    fit_start_(model, log)
    if isinstance(model, SequenceModel) and model.places_new_items:
        short = {"learning_rate": PLACING_RATE, "epochs": 1, "decay": False, "average": 0.0, "warmup_steps": 0}
        with model.placing(modules):
            train(
                modules,
                batches=lambda rng: islice(chain.from_iterable(batches(rng) for _ in count()), PLACING_STEPS),
                loss=_of_items(loss),
                validate=validate,
                config=config.model_copy(update=short),
                seed=child_seed(seed, "placing"),
            )
    return epochs


def _of_items(loss: Loss) -> Loss:
    """The loss, where it has a gradient while nothing but items' vectors can be learned."""

    def checked(batch: Batch, rng: np.random.Generator) -> Mapping[str, Tensor]:
        parts = loss(batch, rng)
        if not parts["loss"].requires_grad:
            raise ModelError(
                "new items can't be placed: what the model learns at the end of its training says nothing of items; "
                "leave content.new_only out, or learn from scores, too, such as by kl or with alpha below 1"
            )
        return parts

    return checked


def validator(
    model: DotProductModel, split: Split, metric: str = "ndcg@10", limit: int = 20_000
) -> Callable[[], float]:
    """The metric's mean over the validation queries, or over `limit` of them drawn once."""
    queries, targets = split.queries("validation")
    if len(queries) > limit:
        chosen = np.sort(generator(0, "validation").choice(len(queries), limit, replace=False))
        queries, targets = queries[chosen], targets[chosen]
    return lambda: float(evaluate(model, queries, targets, [metric])[metric].mean())


def supervised_loss(
    model: DotProductModel, batch: Batch, hidden: Tensor, supervision: Supervision, rng: np.random.Generator
) -> Tensor:
    """Weighted mean loss over the batch's targets, for hidden states (P, D) of its queries, and over its dislikes."""
    vectors, bias = model.item_vectors(), model.item_bias()
    if supervision.loss == "softmax":
        return over_all_items(hidden, vectors, bias, softmax_terms(model, batch, supervision))
    rows, items, weights = (model.tensor(column) for column in (batch.rows, batch.items, batch.weights))
    if supervision.loss == "sampled_softmax":
        positive = _scores(hidden, vectors, bias, rows, items.unsqueeze(1)).squeeze(1)
        drawn = _negatives(model, (supervision.negatives,), rng)
        among = model.n_items if model.trained_items is None else int(model.trained_items.sum())
        loss = _sampled_softmax(hidden, vectors, bias, rows, items, positive, weights, drawn, among)
    else:
        drawn = _negatives(model, (len(rows), supervision.negatives), rng)
        candidates = torch.cat([items.unsqueeze(1), drawn], dim=1)  # (T, 1 + S)
        scores = _scores(hidden, vectors, bias, rows, candidates)
        positive, negative = scores[:, 0], scores[:, 1:]
        if supervision.loss == "bpr":
            pairs = positive.repeat_interleave(supervision.negatives)
            loss = bpr(pairs, negative.flatten(), weights.repeat_interleave(supervision.negatives))
        else:
            loss = binary_cross_entropy(positive, negative, weights)
    if len(batch.disliked_items) and supervision.dislike_weight:
        disliked = model.tensor(batch.disliked_items).unsqueeze(1)
        scores = _scores(hidden, vectors, bias, model.tensor(batch.disliked_rows), disliked)
        weights = model.tensor(batch.disliked_weights)
        mean = (weights * softplus(scores).squeeze(1)).sum() / weights.sum().clamp(min=1e-12)
        loss = loss + supervision.dislike_weight * mean
    return loss


def softmax_terms(
    model: DotProductModel, batch: Batch, supervision: Supervision, share: float = 1.0
) -> list[LogitsTerm]:
    """The batch's softmax loss, times `share`, as terms for over_all_items.

    Summed over all parts it is the weighted mean over targets, plus that over explicit dislikes.
    """
    weights = share * batch.weights / max(batch.weights.sum(), 1e-12)
    targets = RowParts(model, batch.rows, batch.items, weights)
    trained, spread = model.trained_items, supervision.label_smoothing
    without = None if trained is None or trained.all() else model.tensor(np.flatnonzero(~trained))
    terms: list[LogitsTerm] = [
        lambda logits, part: cross_entropy_(logits, *targets.of(part), spread=spread, without=without)
    ]
    if len(batch.disliked_items) and supervision.dislike_weight:
        disliked = batch.disliked_weights.astype(np.float64)
        each = share * supervision.dislike_weight * disliked / max(disliked.sum(), 1e-12)
        dislikes = RowParts(model, batch.disliked_rows, batch.disliked_items, each.astype(np.float32))

        def dislike(logits: Tensor, part: slice) -> Tensor:
            rows, items, weights = dislikes.of(part)
            return weights.sum() * unlikelihood(logits, rows, items, weights)

        terms.append(by_autograd(dislike))
    return terms


class RowParts:
    """Targets ordered by row, cut into the rows of a part."""

    def __init__(
        self,
        model: DotProductModel,
        rows: NDArray[np.int64],
        items: NDArray[np.int64],
        weights: NDArray[np.float32],
    ) -> None:
        self.order = rows
        self.columns = model.tensor(rows), model.tensor(items), model.tensor(weights)

    def of(self, part: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Rows counted from the part's first, items and weights."""
        first, last = np.searchsorted(self.order, [part.start, part.stop])
        rows, items, weights = (column[first:last] for column in self.columns)
        return rows - part.start, items, weights


def _negatives(model: DotProductModel, shape: tuple[int, ...], rng: np.random.Generator) -> Tensor:
    """Items drawn evenly from those that true labels can speak of."""
    if model.trained_items is None:
        return model.tensor(rng.integers(0, model.n_items, shape))
    return model.tensor(rng.choice(np.flatnonzero(model.trained_items), shape))


def _scores(hidden: Tensor, vectors: Tensor, bias: Tensor | None, rows: Tensor, items: Tensor) -> Tensor:
    """(T, C): the score of items (T, C) for the queries of `rows` (T,)."""
    scores = pair_scores(hidden, vectors, rows, items)
    return scores if bias is None else scores + look_up(bias, items)


def _sampled_softmax(
    hidden: Tensor,
    vectors: Tensor,
    bias: Tensor | None,
    rows: Tensor,
    items: Tensor,
    positive: Tensor,
    weights: Tensor,
    drawn: Tensor,
    among: int,
) -> Tensor:
    """Negatives (S,) are drawn once for the batch, evenly among so many items, and shared by all of its queries."""
    n_negatives = len(drawn)
    negatives = hidden @ vectors[drawn].T  # (P, S)
    if bias is not None:
        negatives = negatives + bias[drawn]
    expected = torch.full((n_negatives,), math.log(n_negatives / among), device=hidden.device)
    return sampled_softmax_cross_entropy(
        positive,
        negatives,
        weights,
        rows=rows,
        log_expected_count=expected,
        accidental=items.unsqueeze(1) == drawn,
    )
