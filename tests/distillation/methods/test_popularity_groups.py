from itertools import pairwise

import numpy as np
import pytest

from distilrec.data import final_queries, prefix_queries, seen_at
from distilrec.distillation import popularity_groups as module
from distilrec.distillation.popularity_groups import group_lists, popularity_groups, shares


def test_groups_have_about_as_many_interactions_each_and_popularity_falls():
    """Groups of as many items each would put nearly all interactions into the first."""
    counts = np.random.default_rng(0).zipf(1.5, 500).clip(max=200)
    counts[::7] = 0
    groups = popularity_groups(counts, 4)
    parts = [counts[groups.order[part]] for part in groups.slices()]
    assert len(parts) == 4
    assert sorted(groups.order.tolist()) == np.flatnonzero(counts).tolist()
    sums = np.array([part.sum() for part in parts])
    assert abs(sums / counts.sum() - 0.25).max() <= counts.max() / counts.sum()
    assert all(a.min() >= b.max() for a, b in pairwise(parts))


def test_an_item_that_has_more_than_a_group_is_one():
    """A group without items has no mean, and its pairs no items."""
    counts = np.array([1, 90, 5, 4])
    groups = popularity_groups(counts, 4)
    assert [groups.order[part].tolist() for part in groups.slices()] == [[1], [2, 3, 0]]


@pytest.mark.parametrize("pairs", [1, 7, 30])
def test_shares_add_up(pairs):
    """Rounded one by one, there would be a pair too many or too few."""
    counts = np.arange(1, 50)
    for n in (1, 3, 5):
        given = shares(counts, popularity_groups(counts, n), pairs, 1.0)
        assert given.sum() == pairs
        assert len(given) == n
        assert bool((np.diff(given) >= -1).all())  # less popular groups have no fewer but for rounding


@pytest.mark.parametrize("kind", ["factored", "full"])
@pytest.mark.parametrize("prefixes", [False, True])
def test_lists_are_those_of_the_dense_matrix(data, teacher, store, monkeypatch, kind, prefixes):
    """A block, a place or what was seen of another query gives lists that look like any others."""
    monkeypatch.setattr(module, "queries_at_once", lambda n: 5)
    queries, ids = prefix_queries(data.train, 4) if prefixes else final_queries(data.train)
    labels = store((queries, ids), kind=kind)
    groups = popularity_groups(data.train.item_counts(), 3)
    lists = group_lists(labels, data.train, groups, 4)
    seen = seen_at(data.train, labels.query_ids)
    users = queries.users[np.argsort(ids)]
    for row in range(len(labels)):
        scores = (teacher.users[int(users[row])] @ teacher.items.T + teacher.bias).numpy()
        taken = seen[row : row + 1].flat()[1]
        for group, part in enumerate(groups.slices()):
            items = [item for item in groups.order[part] if item not in taken]
            best = sorted(items, key=lambda item: -scores[item])[:4]
            assert lists[row, group].tolist() == best + [-1] * (4 - len(best))
