import numpy as np
import pytest
import torch

from distilrec.data import Interactions, zipf
from distilrec.models import IALSConfig, build, ials
from distilrec.scoring import Queries, Ragged
from distilrec.testing import ModelContract


class TestIALS(ModelContract):
    config = IALSConfig(embedding_size=8, reg=0.01)


class TestIALSWithRecency(ModelContract):
    config = IALSConfig(embedding_size=8, reg=0.01, recency_half_life=4.0, frequency=0.0)


def loss(model, log, users, items):
    """The formula of the docstring, pair by pair."""
    config, total = model.config, 0.0
    taken = np.zeros((len(users), len(items)))
    for row, item in zip(*log.histories.flat(), strict=True):
        taken[row, item] = 1
    scores = users @ items.T
    total += (taken * (1 - scores) ** 2).sum() + config.unobserved * (scores**2).sum()
    for vectors, counts, others in ((users, taken.sum(1), items), (items, taken.sum(0), users)):
        total += (
            config.reg * ((counts + config.unobserved * len(others)) ** config.frequency * (vectors**2).sum(1)).sum()
        )
    return total


@pytest.fixture
def log():
    return zipf(30, 12, 150)


@pytest.fixture
def model(log):
    model = build(IALSConfig(embedding_size=4, sweeps=30, reg=0.02), log.n_users, log.n_items, seed=0)
    model.fit(log)
    return model


def of_all(model, log):
    everyone = Queries(np.arange(log.n_users, dtype=np.int32), log.histories)
    return model.hidden(everyone).double().numpy(), model.items.double().numpy()


def test_no_step_from_the_solution_lowers_the_loss(model, log):
    """A wrong weight of the unobserved, or of the ridge, still gives vectors that rank well."""
    users, items = of_all(model, log)
    found, rng = loss(model, log, users, items), np.random.default_rng(0)
    for _ in range(20):
        user, item = (1e-3 * rng.standard_normal(each.shape) for each in (users, items))
        assert loss(model, log, users + user, items) > found
        assert loss(model, log, users, items + item) > found * (1 - 1e-6)


def test_one_user_is_a_ridge_regression(model, log):
    users, items = of_all(model, log)
    config, history = model.config, np.unique(log.histories[3:4].flat()[1])
    ridge = config.reg * (len(history) + config.unobserved * len(items)) ** config.frequency
    system = items[history].T @ items[history] + config.unobserved * items.T @ items + ridge * np.eye(4)
    np.testing.assert_allclose(users[3], np.linalg.solve(system, items[history].sum(0)), rtol=1e-3)


def test_blocks_change_nothing(model, log, monkeypatch):
    """A row that is cut off by its block has another user's items."""
    whole = of_all(model, log)[0]
    for numbers in (1, 100, 1000):
        monkeypatch.setattr(ials, "LARGEST_BLOCK", numbers)
        np.testing.assert_allclose(of_all(model, log)[0], whole, rtol=1e-4, atol=1e-6)


def test_weights_weigh_interactions():
    """An interaction of weight 0 is one that was not taken."""
    config = IALSConfig(embedding_size=2)
    models = [build(config, 2, 4, seed=0) for _ in range(2)]
    logs = [
        Interactions(Ragged.from_rows(rows), n_items=4, weights=np.array(weights, np.float32))
        for rows, weights in (([[0, 1, 2], [0, 1]], [1, 2, 0, 1, 1]), ([[0, 1], [0, 1]], [1, 2, 1, 1]))
    ]
    for model, weighed in zip(models, logs, strict=True):
        model.fit(weighed)
    assert models[0].items[2].norm() == 0
    assert models[0].items.equal(models[1].items)


@pytest.mark.parametrize("weight", [0.5, 3.0])
def test_a_weight_by_hand(weight):
    """One user, one item, width 1, items first: v (w u^2 + a u^2 + r) = w u, r = reg (1 + a) for both sides."""
    a, reg = 0.1, 0.02
    model = build(IALSConfig(embedding_size=1, sweeps=1, unobserved=a, reg=reg), 1, 1, seed=0)
    v = float(model.items[0, 0])
    model.fit(Interactions(Ragged.from_rows([[0]]), 1, weights=np.array([weight], np.float32)))
    ridge = reg * (1 + a)
    u = weight * v / (weight * v**2 + a * v**2 + ridge)
    assert float(model.items[0, 0]) == pytest.approx(weight * u / (weight * u**2 + a * u**2 + ridge), rel=1e-5)


def test_what_is_kept_for_serving_follows_the_items(model, log):
    """Rounded or loaded items, answered by what was made for those before them."""
    everyone = Queries(np.arange(log.n_users, dtype=np.int32), log.histories)
    before = model.hidden(everyone)
    with torch.no_grad():
        model.items.mul_(2.0)
    fresh = build(model.config, log.n_users, log.n_items, seed=1)
    fresh.items.copy_(model.items)
    torch.testing.assert_close(model.hidden(everyone), fresh.hidden(everyone))
    assert not torch.allclose(model.hidden(everyone), before, atol=1e-3)


def test_fewer_items_than_dimensions():
    """Prevents the rounding of zeros from stopping a weakly regularised fit."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 10, 3_000)
    popular = 1 / np.arange(1, 51) ** 0.8
    taken = rng.choice(50, lengths.sum(), p=popular / popular.sum()).astype(np.int32)
    log = Interactions(Ragged.from_lengths(lengths, taken), n_items=50)
    model = build(IALSConfig(embedding_size=64, frequency=0.0, unobserved=1.0), log.n_users, log.n_items, seed=0)
    model.fit(log)
    assert bool(model.items.isfinite().all())
