"""Top lists in NumPy are those of torch's ranking, ties included."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from distilrec import ranking
from distilrec.runtime.top import top_k

SCORES = st.sampled_from([0.0, 1.0, 2.5, -3.0, -np.inf])


@given(arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=40), elements=SCORES), st.integers(1, 40))
def test_ties_go_to_the_smaller_item(scores: np.ndarray, k: int) -> None:
    k = min(k, scores.shape[1])
    items, values = top_k(scores, k)
    expected = ranking.top_k(torch.from_numpy(scores.copy()), k)
    np.testing.assert_array_equal(values, expected[0].numpy())
    np.testing.assert_array_equal(items, np.where(values > -np.inf, expected[1].numpy(), -1))


@pytest.mark.parametrize("levels", [1, 2, 5])
def test_many_items_of_few_scores(levels: int) -> None:
    """So many equal ones that only the first of them are looked at."""
    scores = np.random.default_rng(0).integers(levels, size=(5, 4000)).astype(np.float32)
    scores[1, 17:] = -np.inf
    scores[2, 3:] = -np.inf
    items, values = top_k(scores, 10)
    expected = ranking.top_k(torch.from_numpy(scores.copy()), 10)
    np.testing.assert_array_equal(values, expected[0].numpy())
    np.testing.assert_array_equal(items, np.where(values > -np.inf, expected[1].numpy(), -1))


def test_many_items() -> None:
    scores = np.random.default_rng(0).normal(size=(7, 5000)).astype(np.float32).round(2)
    items, _ = top_k(scores, 20)
    np.testing.assert_array_equal(items, ranking.top_k(torch.from_numpy(scores), 20)[1].numpy())
