"""Making models smaller without training."""

import numpy as np
import pytest
import torch

from distilrec.data import Interactions, cycles, final_queries
from distilrec.models import (
    EASEConfig,
    Ensemble,
    MatrixFactorizationConfig,
    PopularityConfig,
    build,
    factorise,
    truncate_,
)
from distilrec.scoring import Ragged


def test_truncation_keeps_the_principal_components():
    """Left uncentred, the first component would be the mean."""
    model = build(MatrixFactorizationConfig(embedding_size=8, item_bias=False), 10, 1000, seed=0)
    vectors = model.items.detach().double().numpy() + 3.0
    with torch.no_grad():
        model.items.copy_(torch.from_numpy(vectors))
    centred = vectors - vectors.mean(0)
    rank, parameters, size = truncate_(model, most_bytes=7000)
    assert rank == 4
    assert parameters == 80 + 8 + 4 * 1008
    # A byte per component, two per row's scale; the others are too few for codes, at two bytes each.
    numbers = 4 * 1000 + 2 * 1000 + 4 + 2 * (4 * 8 + 8 + 80)
    assert numbers < size < numbers + 600  # the file's header
    left = np.linalg.norm(model.items.detach().double().numpy() - vectors) ** 2
    expected = (np.linalg.svd(centred, compute_uv=False)[4:] ** 2).sum()
    assert left == pytest.approx(expected, rel=0.01)


def test_truncation_rounds_what_it_counts():
    """Components counted at a byte but kept exact would flatter the control."""
    model = build(MatrixFactorizationConfig(embedding_size=8), 10, 1000, seed=0)
    before = model.items.detach().clone()
    truncate_(model, most_bytes=10**6)
    error = (model.items - before).abs().amax()
    assert 1e-4 < error / before.abs().amax() < 0.05


def test_truncation_tells_the_rank_that_there_is():
    model = build(MatrixFactorizationConfig(embedding_size=64), 10, 12, seed=0)
    rank, parameters, _ = truncate_(model, most_bytes=10**6)
    assert rank == 12
    assert parameters == 12 * 12 + 12 * 64 + 64 + 640 + 12


@pytest.fixture
def asked():
    """A teacher without vectors, what it knows, and its scores (70, 40) less the mean of each row."""
    train = cycles(n_users=70, n_items=40, length=9).interactions
    teacher = Ensemble([build(config, 70, 40, seed=0) for config in (EASEConfig(), PopularityConfig())])
    for member in teacher.list_members():
        member.fit(train)
    scores = teacher.score(final_queries(train)[0]).double()
    return teacher, train, (scores - scores.mean(1, keepdim=True)).numpy()


def scores_of(model, train):
    return model.score(final_queries(train)[0]).detach().double().numpy()


@pytest.mark.parametrize("item_bias", [True, False])
def test_a_factorisation_is_the_nearest_of_its_width(asked, item_bias):
    teacher, train, scores = asked
    own = scores.mean(0) if item_bias else 0.0
    u, values, v = np.linalg.svd(scores - own, full_matrices=False)
    config = MatrixFactorizationConfig(embedding_size=5, item_bias=item_bias)
    found = scores_of(factorise(teacher, train, config, seed=0), train)
    np.testing.assert_allclose(found, (u[:, :5] * values[:5]) @ v[:5] + own, atol=2e-4)


def test_a_factorisation_in_blocks_is_that_of_the_whole(asked, monkeypatch):
    teacher, train, _ = asked
    config = MatrixFactorizationConfig(embedding_size=5)
    whole = scores_of(factorise(teacher, train, config, seed=0), train)
    monkeypatch.setattr("distilrec.models.truncation.queries_at_once", lambda _: 16)
    np.testing.assert_allclose(scores_of(factorise(teacher, train, config, seed=0), train), whole, atol=1e-4)


def test_few_vectors_find_the_head_of_many():
    """Without sweeps, 24 vectors of 200 directions mix the first four with what is left out."""
    train = cycles(n_users=300, n_items=200, length=3).interactions
    teacher = build(MatrixFactorizationConfig(embedding_size=64, item_bias=False), 300, 200, seed=0)
    with torch.no_grad():
        teacher.users *= 0.95 ** torch.arange(64)
    scores = scores_of(teacher, train)
    scores -= scores.mean(1, keepdims=True)
    config = MatrixFactorizationConfig(embedding_size=4, item_bias=False)
    left = np.linalg.norm(scores - scores_of(factorise(teacher, train, config, seed=0), train)) ** 2
    assert left == pytest.approx((np.linalg.svd(scores, compute_uv=False)[4:] ** 2).sum(), rel=1e-3)


def test_beyond_the_rank_that_there_is_vectors_are_zero_and_strangers_get_the_mean(asked):
    """Three users make at most two directions about their mean."""
    teacher, train, scores = asked
    train = Interactions(Ragged.from_rows([*train.histories.values.reshape(70, 9)[:3], *[[]] * 67]), n_items=40)
    found = factorise(teacher, train, MatrixFactorizationConfig(embedding_size=16), seed=0)
    np.testing.assert_allclose(scores_of(found, train), scores[:3], atol=2e-4)
    assert not found.users[:, 3:].any()
    torch.testing.assert_close(found.users[69], found.users[:3].mean(0))
