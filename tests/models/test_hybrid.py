"""Hybrid: scores by hand, weights that find who knows what, and what each part adds."""

import numpy as np
import pytest
import torch

from distilrec.errors import ModelError
from distilrec.models import Hybrid, Popularity, PopularityConfig, load_model, save_model
from distilrec.models.base import Model
from distilrec.models.ensemble import standardised
from distilrec.ranking import evaluate
from distilrec.rng import generator
from distilrec.scoring import Queries, Ragged

N = 40


class Told(Model):
    """Scores that are given by user."""

    def __init__(self, scores):
        super().__init__(len(scores), N)
        self.scores = torch.from_numpy(scores.astype(np.float32))

    def score(self, queries):
        return self.scores[torch.from_numpy(queries.users).long()].clone()


def asked(lengths):
    histories = Ragged.from_rows([[0] * length for length in lengths])
    return Queries(np.arange(len(lengths), dtype=np.int32), histories, Ragged.from_rows([[]] * len(lengths)))


def test_scores_by_hand():
    scores = generator(0, "scores").normal(size=(2, 1, N))
    hybrid = Hybrid([Told(scores[0]), Told(scores[1])], np.array([0] * 20 + [5] * 20))
    hybrid.shared.copy_(torch.tensor([1.0, 2.0]))
    hybrid.by_user[2] = torch.tensor([0.5, 0.0])  # three to nine items
    hybrid.by_item[0] = torch.tensor([0.0, -2.0])  # nobody took it
    hybrid.bias[0] = 0.25
    z = standardised(torch.from_numpy(scores[:, 0]).float())
    expected = torch.where(torch.arange(N) < 20, 1.5 * z[0] + 0.25, 1.5 * z[0] + 2.0 * z[1])
    torch.testing.assert_close(hybrid.score(asked([4]))[0], expected)
    torch.testing.assert_close(hybrid.contributions(asked([4])).sum(2)[0], expected)
    assert hybrid.table()["user"]["3–9"] == [1.5, 2.0]
    assert hybrid.table()["item"]["0"] == [1.0, 0.0]


@pytest.fixture(scope="module")
def world():
    """One member knows users with long histories, the other those with short ones; both err about the rest."""
    rng = generator(0, "hybrid")
    n = 600
    lengths = np.where(np.arange(n) % 2 == 0, 0, 40)
    targets = rng.integers(0, N, n)
    sharp = np.zeros((2, n, N))
    sharp[:] = rng.normal(size=(2, n, N))
    sharp[0, lengths == 40, targets[lengths == 40]] += 3
    sharp[1, lengths == 0, targets[lengths == 0]] += 3
    members = [Told(sharp[0]), Told(sharp[1])]
    return members, asked(lengths), Ragged.from_rows([[int(t)] for t in targets])


def test_weights_find_who_knows_what(world):
    members, queries, targets = world
    hybrid = Hybrid(members, np.full(N, 5))
    train, test = np.arange(300), np.arange(300, 600)
    hybrid.fit_weights(queries[train], targets[train])
    quality = {
        name: evaluate(model, queries[test], targets[test])["ndcg@10"].mean()
        for name, model in {"hybrid": hybrid, "first": members[0], "second": members[1]}.items()
    }
    assert quality["hybrid"] > max(quality["first"], quality["second"]) + 0.15
    table = hybrid.table()["user"]
    assert table["30 and more"][0] > 3 * abs(table["30 and more"][1])
    assert table["0"][1] > 3 * abs(table["0"][0])


def test_the_same_fit_twice(world):
    members, queries, targets = world
    first, second = (Hybrid(members, np.full(N, 5)) for _ in range(2))
    for each in (first, second):
        each.fit_weights(queries, targets)
    assert torch.equal(first.by_user, second.by_user)


def test_saved_and_loaded(tmp_path):
    members = [Popularity(PopularityConfig(), 3, N) for _ in range(2)]
    members[0].log_share.copy_(torch.arange(N).float())
    hybrid = Hybrid(members, np.arange(N))
    hybrid.by_item[1] = 2.0
    save_model(hybrid, tmp_path)
    queries = asked([1, 2])
    torch.testing.assert_close(load_model(tmp_path).score(queries), hybrid.score(queries))


def test_what_makes_no_hybrid(world):
    members, queries, _ = world
    with pytest.raises(ModelError, match="at least two members, given 1"):
        Hybrid(members[:1], np.full(N, 5))
    with pytest.raises(ModelError, match="no validation query"):
        Hybrid(members, np.full(N, 5)).fit_weights(queries[:2], Ragged.from_rows([[], []]))


def test_queries_that_come_in_turns_are_all_heard():
    """Prevents a stride from hearing, of users who are asked after 0 to 10 items, the same numbers each time."""
    rng = generator(0, "turns")
    lengths = np.tile([0, 1, 2, 3, 5, 10], 20)
    targets = rng.integers(0, N, len(lengths))
    scores = rng.normal(size=(2, len(lengths), N))
    scores[0, np.arange(len(lengths)), targets] += 3
    hybrid = Hybrid([Told(scores[0]), Told(scores[1])], np.full(N, 5))
    hybrid.fit_weights(asked(lengths), Ragged.from_rows([[target] for target in targets]), most=40)
    assert (hybrid.by_user[:4].abs().sum(1) > 0).all()
