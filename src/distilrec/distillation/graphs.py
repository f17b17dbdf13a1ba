"""Graphs of what is taken together: nearest neighbours by co-occurrence, made in blocks, never dense."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

__all__ = ["Graph", "co_occurrence_graph", "incidence"]

Graph: TypeAlias = "scipy.sparse.csr_array[Any, tuple[int, int]]"

# Products of one block, which bounds its memory: about 200 MB.
BLOCK_WORK = 2**22
BLOCK_ROWS = 2**16
# Of a larger group so many members count, evenly spaced; the work would grow with the square of its size.
LARGEST_GROUP = 1000


def incidence(nodes: NDArray[np.integer[Any]], groups: NDArray[np.integer[Any]], shape: tuple[int, int]) -> Graph:
    """(n, G) sparse int32: 1 where a node (E,) belongs to a group (E,), however often."""
    members = scipy.sparse.csr_array((np.ones(len(nodes), np.int32), (nodes, groups)), shape=shape)
    members.sum_duplicates()
    members.data[:] = 1
    return members


def co_occurrence_graph(members: Graph, k: int) -> Graph:
    """(n, n) sparse float32, symmetric: D^-1/2 (A + A') / 2 D^-1/2, where A_ij = 1 if j is among the k nearest of i.

    members: (n, G), of `incidence`: which groups (users, or items) a node belongs to. Nearest are those with most
    groups in common, at least one; of equals those with the smaller number. A node without any has an empty row.
    Of groups above `LARGEST_GROUP` so many members count.

    >>> two = incidence(np.array([0, 1, 2]), np.array([0, 0, 1]), (3, 2))
    >>> co_occurrence_graph(two, k=1).toarray().tolist()
    [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    n = members.shape[0]
    rows, near = _nearest(_thinned(members), k)
    edges = scipy.sparse.csr_array((np.ones(len(rows), np.float32), (rows, near)), shape=(n, n))
    graph = ((edges + edges.T) / 2).tocsr()
    degrees: NDArray[np.float32] = np.asarray(graph.sum(1)).ravel()
    scale = 1 / np.sqrt(np.where(degrees > 0, degrees, 1.0))
    owners = np.repeat(np.arange(n), np.diff(graph.indptr))
    graph.data = (graph.data * scale[owners] * scale[graph.indices]).astype(np.float32)
    graph.sort_indices()
    return graph


def _thinned(members: Graph) -> Graph:
    """At most LARGEST_GROUP members of each group."""
    by_group = members.T.tocsr()
    sizes = np.diff(by_group.indptr)
    if sizes.max(initial=0) <= LARGEST_GROUP:
        return members
    owners = np.repeat(np.arange(len(sizes)), sizes)
    place = np.arange(len(owners)) - by_group.indptr[owners]
    kept = (place * LARGEST_GROUP) % np.maximum(sizes[owners], 1) < LARGEST_GROUP
    return incidence(by_group.indices[kept], owners[kept], members.shape)


def _nearest(members: Graph, k: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Both ends of each edge, (E,) int64."""
    n, by_group = members.shape[0], members.T.tocsr()
    work = members @ np.diff(by_group.indptr).astype(np.int64)
    part = (np.cumsum(work) - 1).clip(min=0) // BLOCK_WORK
    first = np.flatnonzero((np.diff(part, prepend=-1) > 0) | (np.arange(n) % BLOCK_ROWS == 0))
    ends = [(np.empty(0, np.int64),) * 2]
    for begin, end in pairwise([*first.tolist(), n]):
        rows, near = _best(members[begin:end] @ by_group, begin, k)
        ends.append((rows + begin, near))
    return np.concatenate([rows for rows, _ in ends]), np.concatenate([near for _, near in ends])


def _best(counts: Graph, begin: int, k: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and column of the k largest of each row, the node itself (column `begin` + row) left out."""
    n_rows, n = counts.shape
    rows = np.repeat(np.arange(n_rows), np.diff(counts.indptr))
    others = counts.indices != rows + begin
    rows, near, common = rows[others], counts.indices[others].astype(np.int64), counts.data[others].astype(np.int64)
    most = int(common.max(initial=0))
    # One number orders by row, then by what is in common, then by column.
    keys = (rows * (most + 1) + (most - common)) * n + near
    keys.sort()
    lengths = np.bincount(rows, minlength=n_rows)
    kept = np.minimum(lengths, k)
    owners = np.repeat(np.arange(n_rows), kept)
    place = np.arange(len(owners)) - (np.cumsum(kept) - kept)[owners]
    return owners, keys[(np.cumsum(lengths) - lengths)[owners] + place] % n
