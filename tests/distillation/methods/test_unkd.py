from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from distilrec.distillation.method import Setting
from distilrec.distillation.methods import UnKD
from distilrec.distillation.methods.unkd import draw_ranks
from distilrec.errors import SoftLabelError
from distilrec.testing import MethodContract


class TestUnKD(MethodContract):
    method = UnKD(groups=2, pool=12, sharpness=5)
    record: ClassVar = {"kind": "factored"}


class TestUnKDOfAllScores(MethodContract):
    method = UnKD(groups=2, pool=12, sharpness=5)
    record: ClassVar = {"kind": "full"}


@pytest.fixture
def term(data, student, store):
    def make(labels=None, **settings):
        return UnKD(**settings).term(Setting(student(), data.train, labels or store(), 0))

    return make


def test_ranks_are_drawn_by_rank():
    """A distribution function that is inverted wrongly draws ranks all the same."""
    lengths = np.repeat([1, 3, 6], 40_000)
    ranks = draw_ranks(lengths, 2.0, np.random.default_rng(0)).reshape(3, -1)
    for row, length in zip(ranks, (1, 3, 6), strict=True):
        expected = np.exp(-np.arange(length) / 2.0)
        np.testing.assert_allclose(np.bincount(row) / len(row), expected / expected.sum(), atol=0.01)
    assert draw_ranks(np.zeros(5, np.int64), 2.0, np.random.default_rng(0)).tolist() == [0] * 5


def test_pairs_are_of_one_group_and_the_teachers_better_one_is_raised(data, teacher, student, store, step, term):
    """Pairs across groups teach popularity, which the method is to keep out; turned pairs teach the opposite."""
    model, labels = student(), store()
    made = term(labels, groups=3, pairs=1, debias=0)
    pairs = 0
    for user in range(16):
        gradient = torch.autograd.grad(made(step(model, labels, [user], seed=user)), model.bias)[0]
        if bool(gradient.any()):
            high, low = int(gradient.argmin()), int(gradient.argmax())
            scores = teacher.users[user] @ teacher.items.T + teacher.bias
            assert scores[high] > scores[low]
            assert {high, low} <= set(made.lists[user, made.owners[0]].tolist())
            pairs += 1
    assert pairs > 8


def test_pairs_by_hand(data, student, store, step, term):
    """The mean over queries of the mean over pairs, those that drew one item twice left out."""
    model, labels = student(), store()
    made = term(labels, groups=2, pairs=6, debias=0)
    made.lists[:] = -1
    made.lists[:, :, :2] = [4, 7]
    made.lengths[:] = 2
    one = step(model, labels)
    scores = one.hidden @ model.items.T + model.bias
    expected = -torch.nn.functional.logsigmoid(scores[:, 4] - scores[:, 7]).mean()
    torch.testing.assert_close(made(one), expected)


def test_queries_with_short_lists_do_not_count(data, student, store, step, term):
    """One item is no pair; its padding is item 0."""
    model, labels = student(), store()
    made = term(labels, groups=1, pairs=8)
    made.lengths[:] = 1
    made.lengths[0] = 0
    loss = made(step(model, labels))
    assert loss == 0
    loss.backward()
    assert bool((model.items.grad == 0).all())


def test_a_log_of_other_items_is_refused(data, student, store):
    """Groups of nothing would divide by zero."""
    shifted = replace(data.train.histories, values=data.train.histories.values + 40)
    log = replace(data.train, histories=shifted, n_items=80)
    with pytest.raises(SoftLabelError, match="nobody took any"):
        UnKD().term(Setting(student(), log, store(), 0))
