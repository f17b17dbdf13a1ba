import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilrec.evaluation.slices import Bin, by_history_length, by_target_popularity, popularity_groups
from distilrec.scoring import Ragged


@given(st.lists(st.integers(0, 40), min_size=1, max_size=60), st.integers(1, 6))
def test_bins_partition_the_queries(lengths, n_bins):
    """Prevents queries from being dropped or counted twice at the edges of bins."""
    lengths = np.array(lengths)
    values = np.random.default_rng(0).random(len(lengths))
    bins = by_history_length({"a": values}, lengths, n_bins)
    assert sum(group.count for group in bins) == len(lengths)
    assert sum(group.count * group.values["a"] for group in bins) == pytest.approx(values.sum())
    assert len(bins) <= n_bins


def test_bins_of_distinct_lengths_are_of_equal_size():
    bins = by_history_length({"a": np.zeros(12)}, np.arange(12)[::-1])
    assert [(group.label, group.count) for group in bins] == [("0–2", 3), ("3–5", 3), ("6–8", 3), ("9–11", 3)]


def test_equal_lengths_make_one_bin():
    assert [group.label for group in by_history_length({"a": np.zeros(5)}, np.full(5, 7))] == ["7"]


def test_each_arm_has_its_mean():
    bins = by_history_length({"a": np.array([0.0, 1.0]), "b": np.array([1.0, 0.0])}, np.array([1, 9]), 2)
    assert bins == [Bin("1", 1, {"a": 0.0, "b": 1.0}), Bin("9", 1, {"a": 1.0, "b": 0.0})]


def test_groups_hold_a_third_of_the_interactions_each():
    """Prevents head and tail by number of items, where the head would hold almost everything."""
    assert popularity_groups(np.array([1, 5, 5, 5, 0])).tolist() == [2, 0, 0, 1, 2]
    assert popularity_groups(np.array([100, 1, 0])).tolist() == [0, 2, 2]
    assert popularity_groups(np.zeros(3, dtype=np.int64)).tolist() == [2, 2, 2]


def test_a_query_goes_where_most_of_its_targets_are():
    """Items 0 head, 1 middle, 2 and 3 tail; a draw goes to the more popular group, no target to none."""
    targets = Ragged.from_rows([[0, 2, 3], [1, 2], [], [0]])
    bins = by_target_popularity({"a": np.array([1.0, 2.0, 3.0, 4.0])}, targets, np.array([6, 4, 1, 1]))
    assert bins == [
        Bin("head", 1, {"a": 4.0}),
        Bin("middle", 1, {"a": 2.0}),
        Bin("tail", 1, {"a": 1.0}),
    ]


def test_values_must_match_the_queries():
    """Prevents the mean of another set of queries."""
    with pytest.raises(ValueError, match=r"each of the 2 queries, given shape \(3,\) for 'a'"):
        by_history_length({"a": np.zeros(3)}, np.array([1, 2]))
