from typing import ClassVar

import numpy as np
import pytest
import torch

from distilrec.distillation.method import Setting
from distilrec.distillation.methods import IRRRD, RRD
from distilrec.distillation.methods.ir_rrd import _Term
from distilrec.models import LightGCNConfig, Supervision, build
from distilrec.testing import MethodContract

LISTS = {"interesting": 6, "uninteresting": 10, "pool": 10, "sharpness": 5}


class TestIRRRD(MethodContract):
    method = IRRRD(**LISTS, users=3, other_users=6, user_pool=4, user_sharpness=5)
    record: ClassVar = {"kind": "factored"}


class TestListsOfUsersAlone(MethodContract):
    """The lists of items have next to no weight."""

    method = IRRRD(**LISTS, users=3, other_users=6, user_pool=4, weight=0.01, item_weight=100)
    record: ClassVar = {"kind": "factored"}


@pytest.fixture
def term(data, student, store):
    def make(model=None, **settings):
        setting = Setting(model or student(), data.train, store(), 0)
        return IRRRD(**{**LISTS, **settings}).term(setting)

    return make


def test_without_lists_of_users_it_is_rrd(data, student, store, step, term):
    """Draws for the one side that change those of the other."""
    model, labels = student(), store()
    expected = RRD(**LISTS).term(Setting(model, data.train, labels, 0))(step(model, labels))
    torch.testing.assert_close(term(item_weight=0)(step(model, labels)), expected)


def test_the_order_of_users_by_hand(student, store, step, term, data, teacher):
    """Lists of items where lists of users should be, or scores that are transposed, would train all the same."""
    model, labels = student(), store()
    made = term(users=2, user_pool=2, other_users=0)
    items = np.array([3, 8])
    loss = made.over_users(step(model, labels), items)
    expected = []
    for item in items:
        took = [user for user in range(16) if item in data.train.histories[user : user + 1].flat()[1]]
        scores = teacher.users @ teacher.items[item]
        scores[took] = -torch.inf
        first, second = scores.topk(2).indices.tolist()
        a, b = (model.users[user] @ model.items[item] for user in (first, second))
        expected.append(-torch.log_softmax(torch.stack([a, b]), 0)[0] / 2)
    torch.testing.assert_close(loss, torch.stack(expected).mean())


def test_others_come_below(student, store, step, term):
    """Other users that are ranked, or left out, would teach nothing of who doesn't like an item."""
    model, labels = student(), store()
    made = term(users=1, user_pool=1, other_users=30)
    loss = made.over_users(step(model, labels), np.array([3]))
    gradient = torch.autograd.grad(loss, model.users)[0] @ model.items[3]
    best = made.lists.users[3, 0]
    assert gradient[best] < 0
    others = np.setdiff1d(np.arange(16), [best])
    assert bool((gradient[others] >= 0).all())
    assert int((gradient[others] > 0).sum()) > 8


def test_an_items_bias_has_no_say_in_the_order_of_users(student, store, step, term):
    model, labels = student(), store()
    loss = term().over_users(step(model, labels), np.arange(10))
    assert torch.autograd.grad(loss, model.bias, allow_unused=True)[0] is None


def test_no_more_items_than_queries(student, store, step, term, monkeypatch):
    """A large catalogue would make lists of users for all of its items in each step."""
    model, labels = student(), store()
    seen = []
    monkeypatch.setattr(_Term, "over_users", lambda self, step, items: seen.append(items) or torch.zeros(()))
    made = term()
    made(step(model, labels, users=[0, 1, 2]))
    assert len(seen[0]) == 3
    assert bool((np.diff(seen[0]) > 0).all())


def test_a_batch_without_soft_labels_teaches_nothing(student, store, step, term):
    """Zeros that stand for what wasn't recorded name item 0."""
    model, labels = student(), store()
    one = step(model, labels)
    one.rows[:] = -1
    one.soft = labels.batch(one.rows)
    loss = term()(one)
    assert loss == 0
    loss.backward()
    assert bool((model.users.grad == 0).all())


def test_users_of_a_graph_are_encoded_as_well(data, store, step, term):
    """Vectors of a second pass over the graph that don't belong to those of the first would get no gradient."""
    model = build(LightGCNConfig(embedding_size=8), 16, 40, seed=0)
    model.batches(data.train, Supervision(), 16)
    labels = store()
    term(model)(step(model, labels)).backward()
    assert bool((model.first.grad[:16] != 0).any(1).all())
    assert bool((model.first.grad[16:] != 0).any(1).all())
