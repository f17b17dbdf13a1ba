import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilrec.metrics import coverage, gini, novelty, popularity, popularity_percentiles, popularity_shift

COUNTS = np.array([8, 4, 3, 1, 0])
LISTS = np.array([[0, 1, 4], [0, -1, -1], [-1, -1, -1]])


def test_coverage_counts_each_item_once_within_the_cut():
    """Prevents items beyond k, or the padding, from counting as recommended."""
    assert coverage(LISTS, 5, 2) == pytest.approx(2 / 5)
    assert coverage(LISTS, 5, 3) == pytest.approx(3 / 5)


def test_novelty_by_hand():
    """Prevents an unseen item from making the mean infinite: it counts as seen once."""
    np.testing.assert_allclose(novelty(LISTS, COUNTS, 3), [(1 + 2 + 4) / 3, 1.0, np.nan])


def test_popularity_by_hand():
    np.testing.assert_allclose(popularity_percentiles(COUNTS), [0.9, 0.7, 0.5, 0.3, 0.1])
    np.testing.assert_allclose(popularity(LISTS, COUNTS, 2), [0.8, 0.9, np.nan])


def test_popularity_shift_has_the_sign_that_its_docstring_states():
    """Prevents reading a shift towards the head as one towards the tail."""
    histories = np.array([[-1, 3], [0, 0], [1, 2]])
    np.testing.assert_allclose(popularity_shift(LISTS, histories, COUNTS, 2), [0.5, 0.0, np.nan])


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30))
def test_mean_percentile_is_a_half(counts):
    """Prevents ties from shifting the scale: a list of random items has popularity 0.5."""
    percentiles = popularity_percentiles(np.array(counts))
    assert percentiles.mean() == pytest.approx(0.5)
    assert ((percentiles > 0) & (percentiles < 1)).all()


@given(seed=st.integers(0, 2**32 - 1), n_items=st.integers(1, 30))
def test_gini_equals_the_mean_absolute_difference(seed, n_items):
    """A second definition: mean |x_i - x_j| over all pairs, by twice the mean."""
    lists = np.random.default_rng(seed).integers(0, n_items, (7, 4))
    exposure = np.bincount(lists.ravel(), minlength=n_items)
    expected = np.abs(exposure[:, None] - exposure).mean() / (2 * exposure.mean())
    assert gini(lists, n_items, 4) == pytest.approx(expected)


def test_gini_of_empty_lists_is_zero():
    assert gini(np.full((2, 3), -1), 5, 3) == 0.0


@pytest.mark.parametrize(
    "call", [lambda x, k: coverage(x, 5, k), lambda x, k: gini(x, 5, k), lambda x, k: novelty(x, COUNTS, k)]
)
def test_lists_are_checked(call):
    """Prevents negative or foreign indices from picking another item's value."""
    with pytest.raises(ValueError, match=r"items 0\.\.5, but the catalogue"):
        call(np.array([[0, 5]]), 2)
    with pytest.raises(ValueError, match=r"items -2\.\.0, but the catalogue"):
        call(np.array([[0, -2]]), 2)
    with pytest.raises(ValueError, match=r"must lie in 1\.\.2"):
        call(np.array([[0, 1]]), 3)
    with pytest.raises(ValueError, match="integers"):
        call(np.array([[0.0, 1.0]]), 2)


def test_popularity_shift_needs_a_reference_per_list():
    with pytest.raises(ValueError, match="each of the 3 lists, given 1"):
        popularity_shift(LISTS, np.array([[0]]), COUNTS, 2)
