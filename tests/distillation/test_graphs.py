import numpy as np
import pytest

from distilrec.distillation import graphs
from distilrec.distillation.graphs import co_occurrence_graph, incidence


@pytest.fixture
def members():
    """Forty nodes in thirty groups, some of them twice; one node is in none."""
    rng = np.random.default_rng(0)
    nodes, groups = rng.integers(0, 39, 300), rng.integers(0, 30, 300)
    return incidence(nodes, groups, (40, 30))


def dense(members, k):
    """The same with full matrices, one node at a time."""
    x = members.toarray().astype(np.int64)
    common = x @ x.T
    np.fill_diagonal(common, 0)
    near = np.zeros_like(common, dtype=np.float64)
    for node, counts in enumerate(common):
        best = np.lexsort((np.arange(len(counts)), -counts))[:k]
        near[node, best] = counts[best] > 0
    both = (near + near.T) / 2
    degrees = np.where(both.sum(1) > 0, both.sum(1), 1)
    return both / np.sqrt(np.outer(degrees, degrees))


@pytest.mark.parametrize("k", [1, 3, 100])
def test_it_equals_the_dense_one(members, k):
    """A shift by one in the sorted keys would give neighbours, too, but others."""
    graph = co_occurrence_graph(members, k)
    np.testing.assert_allclose(graph.toarray(), dense(members, k), atol=1e-6)
    assert graph.dtype == np.float32


def test_blocks_change_nothing(members, monkeypatch):
    """Rows of later blocks would be those of the first."""
    whole = co_occurrence_graph(members, 3).toarray()
    for work, rows in ((1, 2**16), (100, 2**16), (2**22, 7)):
        monkeypatch.setattr(graphs, "BLOCK_WORK", work)
        monkeypatch.setattr(graphs, "BLOCK_ROWS", rows)
        np.testing.assert_array_equal(co_occurrence_graph(members, 3).toarray(), whole)


def test_a_repetition_is_no_second_group(members):
    """An item that one user took ten times would be near everything of that user's."""
    assert members.data.max() == 1
    twice = incidence(np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0]), (2, 1))
    assert twice.toarray().tolist() == [[1], [1]]


def test_large_groups_count_in_part(monkeypatch):
    """The work for an item that all took is the square of all users."""
    monkeypatch.setattr(graphs, "LARGEST_GROUP", 10)
    nodes = np.concatenate([np.arange(37), np.arange(4)])
    groups = np.repeat([0, 1], [37, 4])
    thinned = graphs._thinned(incidence(nodes, groups, (37, 2))).toarray()
    assert thinned.sum(0).tolist() == [10, 4]
    assert np.diff(np.flatnonzero(thinned[:, 0])).max() <= 4  # evenly


def test_nothing_in_common():
    """Neighbours with nothing in common would be those with the smallest numbers."""
    alone = co_occurrence_graph(incidence(np.arange(3), np.arange(3), (3, 3)), 2)
    assert alone.nnz == 0
    assert co_occurrence_graph(incidence(np.arange(0), np.arange(0), (3, 2)), 2).nnz == 0
