"""How far two top lists agree: the student's with the teacher's, one value per query.

All functions take two arrays of lists (Q, K) of item indices, best first, -1 for no item (at the end), no
item twice in a list, and the cut-off k in 1..K; they are symmetric in the two, and return (Q,) float64. Two
empty lists agree fully.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["overlap", "rank_biased_overlap", "rank_correlation"]

Lists: TypeAlias = NDArray[np.integer[Any]]
CELLS = 2**22  # compared pairs held at once


def overlap(a: Lists, b: Lists, k: int) -> NDArray[np.float64]:
    """Share of items that the first k of both lists have in common, in [0, 1], whatever their order.

    Divides by the length of the longer list, which is k unless both end early.

    >>> overlap(np.array([[1, 2, 3, 4]]), np.array([[4, 3, 9, 8]]), k=4)
    array([0.5])
    """
    result = np.empty(len(a))
    for part, first, second in _blocks(a, b, k):
        common = _same(first, second).sum(axis=(1, 2))
        longer = np.maximum((first >= 0).sum(axis=1), (second >= 0).sum(axis=1))
        result[part] = np.where(longer > 0, common / np.maximum(longer, 1), 1.0)
    return result


def rank_biased_overlap(a: Lists, b: Lists, k: int, persistence: float = 0.9) -> NDArray[np.float64]:
    """Overlap at every depth up to k, averaged with weights that fall with depth; in [0, 1].

    persistence: p in (0, 1), the weight of depth d falls as p^d; with 0.9 the first ten places carry 86 %.
    Lists that end early count as going on with items of their own, unless both are empty.
    Source: RBO_ext of Webber, Moffat and Zobel 2010, eq. 30: beyond k the agreement goes on as at k.

    >>> rank_biased_overlap(np.array([[1, 2]]), np.array([[2, 1]]), k=2)  # 0 at depth 1, full at 2 and beyond
    array([0.9])
    """
    if not 0 < persistence < 1:
        raise ValueError(f"rank_biased_overlap: persistence must lie between 0 and 1, given {persistence}")
    depths = np.arange(1, k + 1)
    weights = (1 - persistence) / persistence * persistence**depths
    weights[-1] += persistence**k  # what lies beyond k
    result = np.empty(len(a))
    for part, first, second in _blocks(a, b, k):
        same = _same(first, second)
        # An item in both lists counts from the deeper of its two places on.
        deeper = np.maximum(np.arange(k)[:, None], np.arange(k))
        common = np.stack([same[:, deeper == d].sum(axis=1) for d in range(k)], axis=1).cumsum(axis=1)
        empty = (first < 0).all(axis=1) & (second < 0).all(axis=1)
        result[part] = np.where(empty, 1.0, (common / depths) @ weights)
    return result


def rank_correlation(a: Lists, b: Lists, k: int) -> NDArray[np.float64]:
    """Kendall's tau-b over the union of the first k of both lists, in [-1, 1].

    An item that a list lacks takes place k + 1 there, tied with all others that it lacks. 1 for equal
    lists, below 0 for lists that share little, 0 where only one of them is empty.
    Source: Kendall 1945 (tau-b), over the places of Fagin, Kumar and Sivakumar 2003.

    >>> rank_correlation(np.array([[1, 2, 3], [1, 2, 3]]), np.array([[1, 2, 3], [3, 2, 1]]), k=3)
    array([ 1., -1.])
    """
    result = np.empty(len(a))
    for part, first, second in _blocks(a, b, k):
        places, valid = _union_places(first, second)
        pairs = valid[:, :, None] & valid[:, None, :]
        signs = [np.sign(p[:, :, None] - p[:, None, :]) * pairs for p in places]
        products = np.einsum("qij,qij->q", *signs, dtype=np.float64)
        norms = [np.count_nonzero(s, axis=(1, 2)).astype(np.float64) for s in signs]
        norm = np.sqrt(norms[0] * norms[1])
        # A union without two items that either list parts has no correlation: 1 if the lists are equal.
        undefined = (first == second).all(axis=1).astype(np.float64)
        result[part] = np.where(norm > 0, products / np.maximum(norm, 1), undefined)
    return result


def _blocks(a: Lists, b: Lists, k: int) -> Iterator[tuple[slice, Lists, Lists]]:
    """The first k of both lists, so many queries at a time that (2k)^2 cells for each stay few."""
    if a.ndim != 2 or b.ndim != 2 or len(a) != len(b):
        raise ValueError(f"agreement: expected two lists for each query, (Q, K), given shapes {a.shape} and {b.shape}")
    if not 1 <= k <= min(a.shape[1], b.shape[1]):
        raise ValueError(
            f"agreement: the cut-off must lie in 1..{min(a.shape[1], b.shape[1])}, the length of the lists, given {k}"
        )
    step = max(1, CELLS // (4 * k * k))
    for start in range(0, len(a), step):
        part = slice(start, min(start + step, len(a)))
        yield part, a[part, :k], b[part, :k]


def _same(a: Lists, b: Lists) -> NDArray[np.bool_]:
    """(B, k, k) bool: whether place i of a and place j of b hold the same item."""
    same: NDArray[np.bool_] = (a[:, :, None] == b[:, None, :]) & (a >= 0)[:, :, None]
    return same


def _union_places(a: Lists, b: Lists) -> tuple[tuple[NDArray[np.int16], NDArray[np.int16]], NDArray[np.bool_]]:
    """Places in a and in b of the items of a, then of b, (B, 2k) each; and (B, 2k) bool: each item once."""
    k = a.shape[1]
    same = _same(a, b)
    in_b, in_a = same.any(axis=2), same.any(axis=1)
    own = np.broadcast_to(np.arange(k, dtype=np.int16), a.shape)
    a_in_b = np.where(in_b, same.argmax(axis=2), k).astype(np.int16)
    b_in_a = np.where(in_a, same.argmax(axis=1), k).astype(np.int16)
    places = np.concatenate([own, b_in_a], axis=1), np.concatenate([a_in_b, own], axis=1)
    return places, np.concatenate([a >= 0, (b >= 0) & ~in_a], axis=1)
