"""Logs with a known answer for tests, and large ones for measuring."""

from __future__ import annotations

import numpy as np
import polars as pl

from distilrec.data.interactions import Dataset, Ids, Interactions
from distilrec.rng import generator
from distilrec.scoring import Ragged

__all__ = ["clusters", "cycles", "zipf"]

_CHUNK = 8_000_000  # interactions drawn at once: bounds the memory beside the result


def cycles(n_users: int = 64, n_items: int = 16, length: int = 8, *, seed: int = 0) -> Dataset:
    """Each user walks through the items in their order from a place of their own, the last followed by the
    first.

    The next item is always (last + 1) mod n_items: a model of sequences can reach a hit rate@1 of 1, one
    that only counts items can't do better than chance. No user takes an item twice while length <= n_items.

    >>> log = cycles(2, n_items=5, length=3).interactions
    >>> ((log.histories.values[1:3] - log.histories.values[0:2]) % 5).tolist()
    [1, 1]
    """
    starts = generator(seed, "cycles").integers(n_items, size=n_users)
    items = (starts[:, None] + np.arange(length)) % n_items  # (U, length)
    return _dataset("cycles", items, n_items)


def clusters(n_users: int = 60, n_items: int = 40, n_clusters: int = 4, length: int = 8, *, seed: int = 0) -> Dataset:
    """User u likes only the items of cluster u mod n_clusters, `length` different ones in random order.

    Item i belongs to cluster i mod n_clusters. A good model ranks all items of the user's own cluster above
    all others; the best hit rate@k is min(1, k / (n_items / n_clusters - length + 1)). n_items must be a
    multiple of n_clusters.

    >>> log = clusters(5, n_items=8, n_clusters=2, length=3).interactions
    >>> (log.histories[:1].flat()[1] % 2).tolist()
    [0, 0, 0]
    """
    size = n_items // n_clusters
    if n_items % n_clusters or length > size:
        raise ValueError(
            f"clusters: {n_items} items in {n_clusters} clusters can't give each user {length} of one "
            "cluster; "
            "n_items must be a multiple of n_clusters, and length at most n_items / n_clusters"
        )
    ranks = generator(seed, "clusters").random((n_users, size)).argsort(axis=1)[:, :length]
    items = ranks * n_clusters + (np.arange(n_users) % n_clusters)[:, None]
    return _dataset("clusters", items, n_items)


def zipf(n_users: int, n_items: int, n_interactions: int, *, seed: int = 0) -> Interactions:
    """A large log whose r-th most popular item is taken in proportion to log(1 + 1/r), about 1/r.

    User activity is log-normal (sigma 1). Repeats happen, as items are drawn independently; there are no
    times, only order. Memory beside the result (4 bytes an interaction) stays under 300 MB.

    >>> log = zipf(10, 100, 1000, seed=1)
    >>> len(log), log.n_users, log.n_items
    (1000, 10, 100)
    """
    rng = generator(seed, "zipf")
    activity = rng.lognormal(sigma=1.0, size=n_users)
    lengths = rng.multinomial(n_interactions, activity / activity.sum())
    names = rng.permutation(n_items).astype(np.int32)  # so that an index doesn't tell an item's popularity
    items = np.empty(n_interactions, dtype=np.int32)
    for begin in range(0, n_interactions, _CHUNK):
        part = items[begin : begin + _CHUNK]
        # The inverse of the distribution function log(1 + r) / log(1 + N), r = 1..N.
        ranks = np.exp(rng.random(len(part)) * np.log(n_items + 1)).astype(np.int32) - 1
        np.take(names, np.minimum(ranks, n_items - 1), out=part)
    return Interactions(Ragged.from_lengths(lengths.astype(np.int64), items), n_items)


def _dataset(name: str, items: np.ndarray[tuple[int, int], np.dtype[np.int64]], n_items: int) -> Dataset:
    n_users, length = items.shape
    histories = Ragged.from_lengths(np.full(n_users, length, dtype=np.int64), items.ravel().astype(np.int32))
    times = np.tile(np.arange(length, dtype=np.int64), n_users)
    user_ids, item_ids = (
        Ids(pl.Series([f"{letter}{number}" for number in range(count)]))
        for letter, count in (("u", n_users), ("i", n_items))
    )
    return Dataset(name, Interactions(histories, n_items, times), user_ids, item_ids)
