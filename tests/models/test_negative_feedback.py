import polars as pl
import pytest
import torch

from distilrec.data import Preparation
from distilrec.data.build import build as build_dataset
from distilrec.models import EASEConfig, IALSConfig, ItemKNNConfig, PopularityConfig, build

RATINGS = pl.DataFrame({"user": [1, 1, 1, 2, 2, 2], "item": list("abcabc"), "rating": [5, 5, 1, 5, 4, 1]})

# What a model keeps of item c, which both users disliked, less what is kept of an item that nobody took.
OF_THE_DISLIKED = {
    PopularityConfig(): lambda model: model.log_share.exp()[2] - 0.5 / (4 + 3 * 0.5),
    EASEConfig(reg=1): lambda model: torch.cat([model.weights[2], model.weights[:, 2]]),
    ItemKNNConfig(): lambda model: torch.cat([model.similarities[2], model.similarities[model.neighbours == 2]]),
    IALSConfig(): lambda model: model.items[2],
}


@pytest.mark.parametrize("config", OF_THE_DISLIKED, ids=lambda config: config.model)
def test_what_was_only_disliked_was_not_taken(config):
    """Prevents low ratings from counting as interactions in models that learn from counts."""
    dataset = build_dataset(RATINGS, Preparation(like_threshold=4), "ratings").dataset
    assert len(dataset.negatives) == 2
    model = build(config, 2, 3, seed=0)
    model.fit(dataset.interactions)
    left = OF_THE_DISLIKED[config](model)
    torch.testing.assert_close(left, torch.zeros_like(left))
