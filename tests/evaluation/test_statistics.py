import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from distilrec.evaluation.statistics import RESAMPLES, by_user, compare, holm, interval


def rng():
    return np.random.default_rng(0)


def test_the_sign_is_a_minus_b():
    """Prevents a loss from being reported as a gain."""
    a, b = rng().random(200) + 0.3, rng().random(200)
    forward, backward = compare(a, b, rng=rng()), compare(b, a, rng=rng())
    assert forward.difference == pytest.approx(0.3)
    assert forward.ci95[0] > 0
    assert backward.difference == pytest.approx(-0.3)
    assert backward.ci95[1] < 0


@pytest.mark.parametrize("levels", [3, None])
def test_the_interval_equals_the_normal_one_on_many_queries(levels):
    """Prevents an interval of the wrong width, drawn query by query (None) or value by value (3 levels)."""
    values = rng().random(3000) if levels is None else rng().integers(0, levels, 3000) / levels
    low, high = interval(values, rng())
    half = 1.96 * values.std() / np.sqrt(3000)
    assert low == pytest.approx(values.mean() - half, abs=0.06 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.06 * half)


def test_p_values_equal_scipy():
    a, b = rng().normal(0.15, 1, 60), np.zeros(60)
    result = compare(a, b, rng=rng())
    exact = stats.permutation_test(
        (a,), np.mean, permutation_type="samples", n_resamples=20_000, rng=np.random.default_rng(1)
    )
    assert result.p_value == pytest.approx(exact.pvalue, abs=0.015)
    assert result.p_wilcoxon == pytest.approx(stats.wilcoxon(a).pvalue)


def test_few_queries_give_the_exact_share_of_sign_patterns():
    """Prevents rounding from parting equal sums: 2 of the 8 patterns are as extreme."""
    assert compare(np.array([0.1, 0.2, 0.3]), np.zeros(3), rng=rng()).p_value == pytest.approx(0.25, abs=0.02)


def test_under_the_null_p_values_are_uniform():
    """Prevents a test that finds gains in noise more (or less) often than it says."""
    source = np.random.default_rng(5)
    p = [compare(source.random(40), source.random(40), rng=source).p_value for _ in range(60)]
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_equal_arms_differ_by_nothing():
    values = rng().random(50)
    result = compare(values, values, rng=rng())
    assert (result.difference, result.ci95, result.p_value, result.p_wilcoxon) == (0.0, (0.0, 0.0), 1.0, 1.0)


def test_zeros_are_kept_in_the_rank_test():
    """Prevents warnings and NaN where most queries are answered alike."""
    a = np.zeros(300)
    a[:30] = 0.5
    result = compare(a, np.zeros(300), rng=rng())
    assert result.p_wilcoxon < 1e-6
    assert result.p_value == pytest.approx(1 / (RESAMPLES + 1))


def test_seeds_are_averaged_per_query_first():
    """Prevents seeds from being counted as more queries, which narrows every interval."""
    a, b = rng().random((4, 100)), rng().random((2, 100))
    assert compare(a, b, rng=rng()) == compare(a.mean(0), b.mean(0), rng=rng())
    assert interval(a, rng()) == interval(a.mean(0), rng())


def test_the_same_generator_gives_the_same_result():
    a, b = rng().random(30), rng().random(30)
    assert compare(a, b, rng=rng()) == compare(a, b, rng=rng())


def test_bad_values_are_refused():
    """Prevents broadcasting of one arm over another, and a NaN mean."""
    with pytest.raises(ValueError, match="given 3 and 4 queries"):
        compare(np.ones(3), np.ones(4), rng=rng())
    with pytest.raises(ValueError, match="a holds 1 values that are NaN"):
        compare(np.array([1.0, np.nan]), np.ones(2), rng=rng())
    with pytest.raises(ValueError, match="not empty"):
        interval(np.empty((2, 0)), rng())


def test_holm_by_hand():
    """Holm 1979: .005 * 4, .01 * 3, then .03 * 2, and .04 * 1 raised to the one before."""
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    assert holm([0.7, 0.9]).tolist() == [1.0, 1.0]
    assert holm([]).shape == (0,)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_keeps_the_order_and_lies_between_the_raw_and_bonferroni(p):
    p = np.array(p)
    adjusted = holm(p)
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(1, p * len(p)) + 1e-12).all()
    assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()


def test_holm_refuses_what_is_no_p_value():
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        holm([0.1, np.nan])


def test_users_who_ask_often_count_once():
    """Prevents six queries of one user from passing for six users: half of all true nulls were rejected so."""
    source = np.random.default_rng(3)
    users = np.repeat(np.arange(100), 6)
    p = []
    for _ in range(40):
        own = np.repeat(source.normal(0, 0.1, 100), 6)
        values = by_user((own + source.normal(0, 0.05, 600))[None], users)
        p.append(compare(values, np.zeros(100), rng=source).p_value)
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_users_who_ask_more_often_weigh_more():
    """The mean is that over queries; the spread is that of the mean where whole users are drawn anew."""
    source = np.random.default_rng(4)
    counts = source.integers(1, 8, 400)
    users = np.repeat(np.arange(400), counts)
    values = np.repeat(source.normal(size=400), counts) + source.normal(size=len(users))
    each = by_user(values[None], users)[0]
    assert each.mean() == pytest.approx(values.mean())
    sums = np.bincount(users, values)
    drawn = source.integers(0, 400, (4_000, 400))
    resampled = sums[drawn].sum(1) / counts[drawn].sum(1)
    assert each.std() / np.sqrt(400) == pytest.approx(resampled.std(), rel=0.05)
