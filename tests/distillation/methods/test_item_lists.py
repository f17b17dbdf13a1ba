from dataclasses import replace

import numpy as np
import pytest
import torch

from distilrec.data import final_queries, prefix_queries
from distilrec.distillation import item_lists as module
from distilrec.distillation.item_lists import encode_users, item_lists
from distilrec.errors import SoftLabelError


def dense(data, teacher, users):
    """(N, users): the teacher's scores, -inf where the user took the item; and who took it."""
    scores = (teacher.users[users] @ teacher.items.T + teacher.bias).T.numpy().copy()
    took = np.zeros((data.train.n_items, data.train.n_users), bool)
    owners, items = data.train.histories.flat()
    took[items, owners] = True
    scores[took[:, users]] = -np.inf
    return scores, took


@pytest.mark.parametrize("block", [3, 1024])
@pytest.mark.parametrize("every", [1, 3])
def test_lists_are_those_of_the_dense_matrix(data, teacher, store, monkeypatch, block, every):
    """A block, a place or a user that is off by one gives lists that look like any others."""
    monkeypatch.setattr(module, "queries_at_once", lambda n: block)
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 5)
    queries, ids = final_queries(data.train)
    users = queries.users[::every].astype(np.int64)
    lists = item_lists(store((queries[::every], ids[::every])), data.train, 4)
    scores, _ = dense(data, teacher, users)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :4]
    expected = np.where(np.isfinite(np.take_along_axis(scores, best, 1)), users[best], -1)
    np.testing.assert_array_equal(lists.users, expected)
    np.testing.assert_array_equal(lists.known, users)


def test_lists_end_where_users_do(data, store):
    """An item that others took must not list the first user in the rest of its places."""
    lists = item_lists(store(), data.train, 50)
    counts = np.bincount(data.train.histories.flat()[1], minlength=data.train.n_items)
    np.testing.assert_array_equal((lists.users >= 0).sum(1), 16 - counts)


def test_others_are_neither_listed_nor_takers(data, teacher, store):
    """A taker, or one of the best, that counts as one of the others is pushed down."""
    lists = item_lists(store(), data.train, 4)
    items = np.arange(data.train.n_items)
    others, free = lists.draw_others(items, 200, np.random.default_rng(0))
    _, took = dense(data, teacher, np.arange(16))
    for item in items:
        allowed = set(range(16)) - set(np.flatnonzero(took[item])) - set(lists.users[item])
        assert set(others[item][free[item]]) == allowed


def test_items_that_the_teacher_did_not_know_are_left_out(data, teacher, store):
    """Keys of a larger catalogue would mask other users."""
    values = data.train.histories.values
    larger = replace(data.train, n_items=45, histories=replace(data.train.histories, values=np.where(
        np.arange(len(values)) == data.train.histories.starts[0], 44, values).astype(np.int32)))  # fmt: skip
    lists = item_lists(store(), larger, 30)
    took = int(values[data.train.histories.starts[0]])
    assert lists.users.shape == (40, 30)
    assert 0 in lists.users[took]


def test_stores_of_other_queries_are_refused(data, store):
    """Rows of -1 would be read as the store's last."""
    queries, ids = prefix_queries(data.train, 4)
    inner = ids < len(data.train.histories.values)
    with pytest.raises(SoftLabelError, match="end of a user's history"):
        item_lists(store((queries[inner], ids[inner])), data.train, 4)


def test_users_are_encoded_with_gradients(student):
    """States without gradients leave the users' vectors as they were."""
    model = student()
    states = encode_users(model, np.array([3, 5]))
    torch.testing.assert_close(states, model.users[[3, 5]])
    states.sum().backward()
    assert model.users.grad.sum(1).nonzero().flatten().tolist() == [3, 5]
