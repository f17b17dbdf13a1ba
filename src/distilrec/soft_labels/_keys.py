"""A number for what a query holds, by which a later recording finds the same query again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distilrec.scoring import Queries, Ragged

__all__ = ["query_keys"]

Words = NDArray[np.uint64]
# An odd base has an inverse modulo 2^64, so that the hash of a row doesn't depend on where it lies.
_BASE = 0x9E3779B97F4A7C15
_INVERSE = pow(_BASE, -1, 2**64)


def query_keys(queries: Queries) -> Words:
    """(B,) uint64: the same for the same user, history and masked items in their order, wherever they are stored.

    Two different queries share a key with a probability of about 2^-55.

    >>> one = Queries(np.array([7], np.int32), Ragged.from_rows([[4, 2]]))
    >>> other = Queries(np.array([7, 7], np.int32), Ragged.from_rows([[2, 4], [4, 2]]))
    >>> (query_keys(one) == query_keys(other)).tolist()
    [False, True]
    """
    keys = _mixed(queries.users.astype(np.int64).view(np.uint64))
    for rows in (queries.histories, queries.masked):
        keys = _mixed(keys + _row_hashes(rows))
    return keys


def _row_hashes(rows: Ragged) -> Words:
    """(B,): sum over a row of mixed(item) * base^place modulo 2^64, mixed with its length, from running sums."""
    size = len(rows.values)
    sums = np.zeros(size + 1, np.uint64)
    np.cumsum(_mixed(rows.values.astype(np.int64).view(np.uint64)) * _powers(_BASE, size), out=sums[1:])
    hashes = (sums[rows.stops] - sums[rows.starts]) * _powers(_INVERSE, size + 1)[rows.starts]
    return _mixed(hashes + rows.lengths.view(np.uint64))


def _powers(base: int, n: int) -> Words:
    """(n,): base^0, base^1, ... modulo 2^64."""
    powers = np.full(n, base, np.uint64)
    powers[:1] = 1
    return np.cumprod(powers, out=powers)


def _mixed(words: Words) -> Words:
    """A bijection that spreads each bit over all: the finaliser of SplitMix64, Steele, Lea and Flood 2014."""
    words = words + np.uint64(_BASE)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Words = words ^ (words >> np.uint64(31))
    return mixed
