"""Content-kNN: similarities by hand, and what it is told not to mix up."""

import numpy as np
import pytest
import torch

from distilrec.data import Features, Interactions
from distilrec.errors import ModelError
from distilrec.models import Catalogue, ContentKNNConfig, build, load_model, save_model
from distilrec.scoring import Queries, Ragged

UP, RIGHT, BOTH = [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]
LOG = Interactions(Ragged.from_rows([[0, 1, 2]]), n_items=5)  # nobody took 3 and 4
TEXT = Features(np.array([UP, RIGHT, BOTH, UP, [0.0, 0.0]], np.float32), np.array([True, True, True, True, False]))
IMAGE = Features(np.array([[1.0]] * 5, np.float32), np.ones(5, np.bool_))


def model_of(**settings):
    config = ContentKNNConfig(**{"weights": {"text": 1.0}, "neighbours": 5, **settings})
    model = build(config, 1, 5, seed=0, catalogue=Catalogue({"text": TEXT, "image": IMAGE}, LOG.item_counts() > 0))
    model.fit(LOG)
    return model


def scores(model, *history):
    return model.score(Queries(np.array([-1], np.int32), Ragged.from_rows([list(history)])))[0]


def test_similarities_by_hand():
    half = 0.5**0.5
    torch.testing.assert_close(scores(model_of(), 0), torch.tensor([0.0, 0.0, half, 1.0, 0.0]))
    torch.testing.assert_close(scores(model_of(), 1, 2), torch.tensor([half, half, half, half, 0.0]))
    weighed = model_of(weights={"text": 1.0, "image": 0.5})
    torch.testing.assert_close(scores(weighed, 0), torch.tensor([0.0, 0.5, half + 0.5, 1.5, 0.5]))


def test_an_item_counts_by_its_own_nearest_neighbours():
    """Item 3 has one neighbour, 0; a history of 2, which resembles it less, says nothing of it."""
    model = model_of(neighbours=1)
    assert scores(model, 2)[3] == 0
    assert scores(model, 0)[3] == 1


def test_what_nobody_took_is_no_neighbour():
    assert scores(model_of(), 3).tolist() == [0.0] * 5


def test_recent_items_weigh_more():
    scored = scores(model_of(recency_half_life=1.0), 1, 0)
    torch.testing.assert_close(scored[3], torch.tensor(1.0))
    torch.testing.assert_close(scored[2], torch.tensor(1.5 * 0.5**0.5))


def test_saved_and_loaded(tmp_path):
    model = model_of()
    save_model(model, tmp_path)
    assert torch.equal(scores(load_model(tmp_path), 0, 1), scores(model, 0, 1))


def test_content_that_is_not_there():
    with pytest.raises(ModelError, match="weighs 'sound', and the content has text, image"):
        model_of(weights={"sound": 1.0})
    with pytest.raises(ModelError, match="needs the items' content"):
        build(ContentKNNConfig(weights={"text": 1.0}), 1, 5, seed=0).fit(LOG)
