import numpy as np
import torch

from distilrec.data import Interactions, LeaveLastOut, clusters, split
from distilrec.models import LightGCNConfig, Supervision, build, fit
from distilrec.scoring import Ragged
from distilrec.testing import UserContract
from distilrec.training import TrainingConfig


class TestLightGCN(UserContract):
    config = LightGCNConfig(embedding_size=32)


class TestWithBPR(UserContract):
    config = LightGCNConfig(embedding_size=32, layers=1)
    supervision = Supervision(loss="bpr", negatives=2)


def test_propagation_equals_the_dense_formula():
    """Mean over k of (D^-1/2 A D^-1/2)^k E; an interaction that repeats is one edge."""
    log = Interactions(Ragged.from_rows([[0, 1, 1], [1], [], [2, 0]]), n_items=4)
    model = build(LightGCNConfig(embedding_size=3, layers=3), 4, 4, seed=0)
    model.batches(log, Supervision(), batch_size=2)
    model.eval()
    adjacency = np.zeros((8, 8))
    for user, item in [(0, 0), (0, 1), (1, 1), (3, 2), (3, 0)]:
        adjacency[user, 4 + item] = adjacency[4 + item, user] = 1
    degrees = np.maximum(adjacency.sum(1), 1) ** -0.5
    step = degrees[:, None] * adjacency * degrees
    first = model.first.detach().numpy().astype(np.float64)
    expected = sum(np.linalg.matrix_power(step, k) @ first for k in range(4)) / 4
    expected[2] = expected[[0, 1, 3]].mean(0)  # a user without a history
    np.testing.assert_allclose(model.smoothed.numpy(), expected, atol=1e-6)


def test_training_leaves_nothing_behind_but_vectors():
    """A kept graph of gradients would hold memory; unsmoothed vectors would double the bytes."""
    data = split(clusters().interactions, LeaveLastOut())
    model = build(LightGCNConfig(embedding_size=8), data.train.n_users, data.train.n_items, seed=0)
    fit(model, data, Supervision(), TrainingConfig(epochs=1), seed=0)
    assert torch.equal(model.item_vectors(), model.smoothed[model.n_users :])
    assert not model.item_vectors().requires_grad
    assert "first" not in model.serving_state()
