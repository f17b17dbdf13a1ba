import numpy as np
import torch

from distilrec.data import Interactions
from distilrec.models import Popularity, PopularityConfig
from distilrec.scoring import Queries, Ragged
from distilrec.testing import ModelContract


class TestPopularity(ModelContract):
    config = PopularityConfig()
    least_gain = 0.0


def test_softmax_gives_the_share_of_interactions():
    """A share that isn't a probability would make popularity a badly scaled teacher."""
    model = Popularity(PopularityConfig(), n_users=2, n_items=3)
    model.fit(Interactions(Ragged.from_rows([[0, 1], [0]]), n_items=3))
    scores = model.score(Queries(np.array([-1], np.int32), Ragged.from_rows([[]])))
    torch.testing.assert_close(scores.softmax(1), torch.tensor([[2.5, 1.5, 0.5]]) / 4.5)


def test_an_interaction_counts_as_often_as_it_weighs():
    model = Popularity(PopularityConfig(), n_users=2, n_items=3)
    log = Interactions(Ragged.from_rows([[0, 1], [0]]), n_items=3, weights=np.array([2, 0.25, 1], np.float32))
    model.fit(log)
    torch.testing.assert_close(model.log_share.exp(), torch.tensor([3.5, 0.75, 0.5]) / 4.75)
