import math

import numpy as np
import pytest
import torch

from distilrec.data import Features, Interactions, UserBatches
from distilrec.models import (
    Catalogue,
    ContentConfig,
    HistoryEncoderConfig,
    MatrixFactorizationConfig,
    Supervision,
    build,
    supervised_loss,
)
from distilrec.scoring import Ragged

P = [0.5, 0.3, 0.2]  # the student's, for every user


def weighed(rows, weights):
    return Interactions(Ragged.from_rows(rows), n_items=3, weights=np.array(weights, np.float32))


@pytest.fixture
def loss():
    student = build(MatrixFactorizationConfig(embedding_size=2), 2, 3, seed=0)
    with torch.no_grad():
        student.users.zero_()
        student.bias.copy_(torch.tensor(P).log())

    def make(supervision, disliked=None):
        log = weighed([[0], [1]], [2, 1])
        (batch,) = UserBatches(log, 2, disliked=disliked).epoch(np.random.default_rng(0))
        return supervised_loss(student, batch, student.encode(batch), supervision, np.random.default_rng(0)).item()

    return make


# User 0 disliked item 1, user 1 item 2, which counts three times.
DISLIKED = weighed([[1], [2]], [1, 3])


def test_true_labels_and_dislikes_count_as_they_weigh(loss):
    """Two means, each weighted: -log p of what was taken, and -log (1 - p) of what was disliked."""
    labels = (2 * -math.log(0.5) - math.log(0.3)) / 3
    dislikes = (-math.log(0.7) + 3 * -math.log(0.8)) / 4
    assert loss(Supervision()) == pytest.approx(labels)
    assert loss(Supervision(dislike_weight=0.6), DISLIKED) == pytest.approx(labels + 0.6 * dislikes)
    assert loss(Supervision(dislike_weight=0), DISLIKED) == pytest.approx(labels)


@pytest.mark.parametrize("kind", ["sampled_softmax", "bpr", "bce"])
def test_dislikes_count_as_they_weigh_beside_sampled_losses(loss, kind):
    """-log (1 - sigmoid(s)), s = log p, is log (1 + p)."""
    dislikes = (math.log(1.3) + 3 * math.log(1.2)) / 4
    supervision = Supervision(loss=kind, dislike_weight=0.6)
    assert loss(supervision, DISLIKED) == pytest.approx(loss(supervision) + 0.6 * dislikes)


def test_dislikes_without_weight_say_nothing(loss):
    """0 / 0 would turn the batch's loss into NaN."""
    for kind in ("softmax", "bce"):
        supervision = Supervision(loss=kind)
        assert loss(supervision, weighed([[1], [2]], [0, 0])) == pytest.approx(loss(supervision))


def test_sampled_softmax_is_of_the_items_that_can_be_drawn():
    """Prevents items that training doesn't know from counting among those that a sample stands for."""
    n_items, trained = 400, np.arange(400) < 80
    content = Features(
        np.random.default_rng(0).normal(size=(n_items, 4)).astype(np.float32), np.ones(n_items, np.bool_)
    )
    config = HistoryEncoderConfig(
        embedding_size=8, history_length=4, init_std=0.5, content=ContentConfig(modalities=("text",))
    )
    model = build(config, 8, n_items, seed=0, catalogue=Catalogue({"text": content}, trained)).eval()
    log = Interactions(Ragged.from_rows([[n, n + 20, n + 40] for n in range(8)]), n_items=n_items)
    rng = np.random.default_rng(0)
    whole, sampled = [], []
    for supervision, found in (
        (Supervision(), whole),
        (Supervision(loss="sampled_softmax", negatives=20_000), sampled),
    ):
        (batch,) = model.batches(log, supervision, 8, None).epoch(rng)
        found.append(supervised_loss(model, batch, model.encode(batch), supervision, rng).item())
    assert sampled == pytest.approx(whole, abs=0.03)


def test_smoothing_is_of_labels():
    with pytest.raises(ValueError, match="label_smoothing: bpr has no labels to smooth"):
        Supervision(loss="bpr", label_smoothing=0.1)
