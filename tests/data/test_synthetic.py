"""Synthetic logs hold the rule that they promise."""

import numpy as np
import pytest

from distilrec.data import clusters, cycles, zipf


def test_cycles_follow_the_rule():
    log = cycles(20, n_items=7, length=5, seed=3).interactions
    items = log.histories.values.reshape(20, 5)
    assert ((items[:, 1:] - items[:, :-1]) % 7 == 1).all()
    assert all(len(set(row)) == 5 for row in items.tolist())
    assert log.times.reshape(20, 5).tolist() == [list(range(5))] * 20


def test_clusters_stay_within_and_do_not_repeat():
    items = clusters(12, n_items=20, n_clusters=4, length=5).interactions.histories.values.reshape(12, 5)
    assert (items % 4 == (np.arange(12) % 4)[:, None]).all()
    assert all(len(set(row)) == 5 for row in items.tolist())
    with pytest.raises(ValueError, match="multiple"):
        clusters(1, n_items=7, n_clusters=2)


@pytest.mark.parametrize("make", [cycles, clusters])
def test_one_seed_one_data_set(make):
    assert make(seed=1).fingerprint == make(seed=1).fingerprint != make(seed=2).fingerprint


def test_zipf_has_the_shares_it_states(monkeypatch):
    """Chunks must not change the law or leave a gap."""
    monkeypatch.setattr("distilrec.data.synthetic._CHUNK", 30_000)
    log = zipf(50, 100, 200_000, seed=2)
    assert (len(log), log.n_users, log.n_items) == (200_000, 50, 100)
    shares = np.sort(log.item_counts())[::-1] / len(log)
    stated = np.log1p(1 / np.arange(1, 101)) / np.log(101)
    assert np.abs(shares - stated)[:20].max() < 0.005
    assert stated.sum() == pytest.approx(1)
