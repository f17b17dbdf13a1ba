"""The summary, by hand."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilrec.data import Columns, Preparation, describe, from_dataframe
from distilrec.data.describe import gini


def test_a_summary_by_hand():
    log = pl.DataFrame(
        {
            "u": [1, 1, 1, 2],
            "i": ["a", "b", "c", "a"],
            "r": [5, 5, 5, 1],
            "t": [86400 * 9000 + n for n in range(4)],
        }
    )
    items = pl.DataFrame(
        {"item": ["a", "b", "c"], "title": ["A", "", None], "genres": [["x"], [], None], "n": [1, 2, 3]}
    )
    columns = Columns(user="u", item="i", rating="r", time="t")
    found = describe(from_dataframe(log, columns, items=items, preparation=Preparation(like_threshold=3)).dataset)
    assert (found.users, found.items, found.interactions, found.negatives) == (2, 3, 3, 1)
    assert found.density == 0.5
    assert found.times == (777600000, 777600002)
    assert found.dates == ("1994-08-23", "1994-08-23")
    assert found.history_lengths["max"] == 3
    assert found.popularity_gini == 0
    assert found.head_share == pytest.approx(1 / 3)
    assert found.attributes == pytest.approx({"title": 1 / 3, "genres": 1 / 3, "n": 1})


def test_numbers_that_are_none_do_not_cover():
    log = pl.DataFrame({"u": [1, 1, 1, 1], "i": ["a", "b", "c", "d"]})
    vectors = [[1.0, 2.0], [1.0, float("nan")], [1.0, None], [3.0, 4.0]]
    items = pl.DataFrame({"item": ["a", "b", "c", "d"], "price": [1.0, float("nan"), None, 2.0], "v": vectors})
    found = describe(from_dataframe(log, Columns(user="u", item="i"), items=items).dataset)
    assert found.attributes == {"price": 0.5, "v": 0.5}


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20).filter(any))
def test_gini_is_the_mean_difference(counts):
    """Against the definition: mean absolute difference over twice the mean."""
    values = np.array(counts)
    reference = np.abs(values[:, None] - values).mean() / (2 * values.mean())
    assert gini(values) == pytest.approx(reference)
