import numpy as np
import torch

from distilrec.data import clusters
from distilrec.models import Random, RandomConfig
from distilrec.scoring import Queries, Ragged
from distilrec.testing._shared import hit_rate, leave_last_out


def scores(users, seed=0, n_items=1000):
    model = Random(RandomConfig(seed=seed), 5, n_items)
    return model.score(Queries(np.array(users, np.int32), Ragged.from_rows([[]] * len(users))))


def test_the_same_user_gets_the_same_scores_and_others_do_not():
    first = scores([0, 1, 0, -1])
    assert torch.equal(first[0], first[2])
    assert torch.equal(first[[1]], scores([1]))
    assert len({tuple(row.tolist()) for row in first}) == 3
    assert not torch.equal(first[0], scores([0], seed=1)[0])


def test_scores_are_even_and_unrelated():
    found = scores(range(200))
    assert 0 <= float(found.min()) < float(found.max()) < 1
    assert abs(float(found.mean()) - 0.5) < 0.005
    correlations = np.corrcoef(found.numpy())
    assert np.abs(correlations[np.triu_indices(200, 1)]).max() < 0.2


def test_it_hits_by_chance_alone():
    data = leave_last_out(clusters(n_users=400))
    model = Random(RandomConfig(), 400, 40)
    model.fit(data.train)
    assert abs(hit_rate(model, data, 5) - 5 / 33) < 0.08  # seven of 40 items are masked
