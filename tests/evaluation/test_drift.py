import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from distilrec.evaluation.drift import distance_by_chance, jensen_shannon, unpaired

counts = st.lists(st.integers(0, 50), min_size=4, max_size=4).filter(any).map(np.array)


@given(a=counts, b=counts)
def test_the_distance_is_scipys(a, b):
    assert jensen_shannon(a, b) == pytest.approx(jensenshannon(a, b, base=2), abs=1e-6)


def test_chance_explains_a_small_sample_and_not_a_changed_taste():
    """Few interactions over many items always look far away."""
    rng = np.random.default_rng(0)
    before = np.maximum(1, 10_000 // np.arange(1, 1001))
    same = rng.multinomial(500, before / before.sum())
    chance = distance_by_chance(before, 500, rng)
    assert jensen_shannon(before, same) == pytest.approx(chance, abs=0.03)
    assert jensen_shannon(before, same[::-1]) > chance + 0.2


def test_the_interval_of_a_difference_covers_zero_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):
        samples = rng.normal(size=(2, 50))
        means, errors = samples.mean(1), samples.std(1, ddof=1) / np.sqrt(50)
        intervals = [(m - 1.96 * e, m + 1.96 * e) for m, e in zip(means, errors, strict=True)]
        low, high = unpaired(*intervals, tuple(means))[1]
        covered += low <= 0 <= high
    assert 925 < covered < 970
