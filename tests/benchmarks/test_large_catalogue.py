"""The log on which a large catalogue is trained; that the benchmark runs is seen by running it."""

from __future__ import annotations

import numpy as np

from benchmarks.large_catalogue import topics


def test_few_items_are_taken_often_and_users_keep_to_their_topics():
    log = topics(10_000)
    assert (len(log), log.n_items, log.n_users) == (80_000, 10_000, 2_000)
    counts = np.sort(log.item_counts())[::-1]
    assert 0.2 < counts[:200].sum() / counts.sum() < 0.8
    assert (counts > 0).mean() > 0.5
    again = topics(10_000)
    np.testing.assert_array_equal(again.histories.values, log.histories.values)
