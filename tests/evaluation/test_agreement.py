import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from distilrec.evaluation.agreement import overlap, rank_biased_overlap, rank_correlation

MEASURES = [overlap, rank_biased_overlap, rank_correlation]


@st.composite
def two_lists(draw):
    """Lists (Q, K) of distinct items that partly overlap, some of them ending early."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_queries, k = draw(st.integers(1, 4)), draw(st.integers(1, 12))
    n_items = draw(st.integers(k, 3 * k))
    both = []
    for _ in range(2):
        lists = np.stack([rng.permutation(n_items)[:k] for _ in range(n_queries)])
        lists[np.arange(k) >= rng.integers(1, k + 1, n_queries)[:, None]] = -1
        both.append(lists)
    return both[0], both[1], k


def kept(row):
    return [item for item in row.tolist() if item >= 0]


@given(two_lists())
def test_overlap_equals_that_of_sets(lists):
    """Prevents the padding of two short lists from counting as items in common."""
    a, b, k = lists
    for x, y, value in zip(a, b, overlap(a, b, k), strict=True):
        assert value == pytest.approx(len(set(kept(x)) & set(kept(y))) / max(len(kept(x)), len(kept(y))))


@given(two_lists())
def test_rank_correlation_equals_scipy_on_the_union(lists):
    """Prevents correlating only shared items, which calls two disjoint lists undefined."""
    a, b, k = lists
    for x, y, value in zip(a, b, rank_correlation(a, b, k), strict=True):
        x, y = kept(x), kept(y)
        union = sorted(set(x) | set(y))
        if len(union) > 1:
            places = [[row.index(item) if item in row else k for item in union] for row in (x, y)]
            assert value == pytest.approx(stats.kendalltau(*places).statistic, abs=1e-12)


@given(two_lists())
def test_rank_biased_overlap_equals_its_sum(lists):
    """Prevents an error in the vectorised prefixes: eq. 30, term by term, over sets."""
    a, b, k = lists
    p = 0.8
    for x, y, value in zip(a, b, rank_biased_overlap(a, b, k, p), strict=True):
        common = [len(set(kept(x[:d])) & set(kept(y[:d]))) for d in range(1, k + 1)]
        terms = sum(c / d * p**d for d, c in enumerate(common, start=1))
        assert value == pytest.approx(common[-1] / k * p**k + (1 - p) / p * terms)


@given(two_lists())
@pytest.mark.parametrize("measure", MEASURES)
def test_measures_are_symmetric(measure, lists):
    a, b, k = lists
    np.testing.assert_allclose(measure(a, b, k), measure(b, a, k), atol=1e-12)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("row", [[5, 3, 9], [-1, -1, -1]])
def test_equal_lists_agree_fully(measure, row):
    assert measure(np.array([row]), np.array([row]), 3) == pytest.approx(1.0)


def test_equal_lists_that_end_early():
    """Prevents dividing by k what only one item could fill; rank-biased overlap alone reads on to depth k."""
    lists = np.array([[7, -1]])
    assert overlap(lists, lists, 2) == [1.0]
    assert rank_correlation(lists, lists, 2) == [1.0]
    assert rank_biased_overlap(lists, lists, 2, 0.5) == pytest.approx(0.5 + 0.25 / 2 + 0.25 / 2)


@pytest.mark.parametrize(("measure", "least"), [(overlap, 0.0), (rank_biased_overlap, 0.0)])
def test_disjoint_lists_agree_in_nothing(measure, least):
    assert measure(np.array([[1, 2]]), np.array([[3, 4]]), 2) == [least]


def test_rank_correlation_of_disjoint_lists_is_negative_and_of_an_empty_one_zero():
    assert rank_correlation(np.array([[1, 2]]), np.array([[3, 4]]), 2)[0] < 0
    assert rank_correlation(np.array([[1, 2]]), np.array([[-1, -1]]), 2) == [0.0]


@pytest.mark.parametrize("measure", MEASURES)
def test_only_the_first_k_count(measure):
    a, b = np.array([[1, 2, 3]]), np.array([[1, 2, 9]])
    assert measure(a, b, 2) == pytest.approx(1.0)


@pytest.mark.parametrize("measure", MEASURES)
def test_blocks_change_nothing(measure, monkeypatch):
    """Prevents an answer that depends on how many queries are compared at once."""
    rng = np.random.default_rng(0)
    a, b = (np.stack([rng.permutation(20)[:5] for _ in range(30)]) for _ in range(2))
    whole = measure(a, b, 5)
    monkeypatch.setattr("distilrec.evaluation.agreement.CELLS", 700)
    np.testing.assert_array_equal(measure(a, b, 5), whole)


@pytest.mark.parametrize("measure", MEASURES)
def test_shapes_are_checked(measure):
    lists = np.array([[1, 2]])
    with pytest.raises(ValueError, match="two lists for each query"):
        measure(lists, np.array([[1, 2], [3, 4]]), 2)
    with pytest.raises(ValueError, match=r"must lie in 1\.\.2"):
        measure(lists, lists, 3)


def test_persistence_is_checked():
    with pytest.raises(ValueError, match="between 0 and 1, given 1"):
        rank_biased_overlap(np.array([[1]]), np.array([[1]]), 1, persistence=1.0)
