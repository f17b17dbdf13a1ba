"""Scores of pairs: equal to the plain way, in value and gradient."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distilrec.models.pairs import look_up, pair_scores


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 9), st.integers(1, 3), st.integers(0, 2**31))
def test_values_and_gradients_are_those_of_plain_indexing(n: int, n_columns: int, seed: int) -> None:
    """A gradient scattered to the wrong row, or not added up where a row or an item repeats, trains badly."""
    rng = torch.Generator().manual_seed(seed)
    queries, vectors = (torch.randn(size, 4, generator=rng, dtype=torch.float64) for size in (3, 5))
    rows = torch.randint(3, (n,), generator=rng).sort().values
    items = torch.randint(5, (n, n_columns), generator=rng)
    upstream = torch.randn(n, n_columns, generator=rng, dtype=torch.float64)
    found = []
    for scores in (pair_scores, lambda q, v, r, i: (q[r].unsqueeze(1) * v[i]).sum(2)):
        leaves = [queries.clone().requires_grad_(), vectors.clone().requires_grad_()]
        values = scores(*leaves, rows, items)
        values.backward(upstream)
        found.append([values.detach(), *(leaf.grad for leaf in leaves)])
    for own, plain in zip(*found, strict=True):
        assert own is not None
        torch.testing.assert_close(own, plain)


def test_rows_out_of_order_are_refused() -> None:
    """The pairs are counted by row; those of other rows would get the scores without a word."""
    with pytest.raises(ValueError, match="ascending"):
        pair_scores(torch.eye(2), torch.eye(2), torch.tensor([1, 0]), torch.tensor([[0], [0]]))


def test_a_bias_is_looked_up_like_vectors() -> None:
    """Biases have one dimension less; broadcasting would hide a wrong shape."""
    assert look_up(torch.tensor([1.0, 2.0]), torch.tensor([[1, 0], [1, 1]])).tolist() == [[2.0, 1.0], [2.0, 2.0]]
