"""Whether an export answers as the student did that was measured: nothing is called exported before."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from distilrec.errors import ModelError
from distilrec.evaluation.agreement import overlap
from distilrec.metrics import ndcg
from distilrec.runtime import ExportInfo, HeldOut
from distilrec.scoring import Queries, Ragged

__all__ = ["Answer", "check", "padded"]

K, ROWS = 10, 64
TIMED, WARM_UP = 200, 20
Answer: TypeAlias = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.integer]]
"""Places of users (B,) and histories (B, L), padded behind with -1 -> items (B, k)."""


def check(answer: Answer, held_out: HeldOut, size: int, *, least_overlap: float, least_quality: float) -> ExportInfo:
    """Ask an export what the student in PyTorch was asked, and compare.

    held_out: at least one query. size: bytes of the export. least_overlap: of the ten best items, how many both have at
    least, on average. least_quality: share of the student's NDCG@10 that the export has at least.
    Raises ModelError where it has less, and says by how much.
    """
    queries, targets = held_out.queries, held_out.targets
    expected = held_out.expected.padded(K, fill=-1)
    expected = np.take_along_axis(expected, np.argsort(expected < 0, axis=1, kind="stable"), axis=1)  # best first
    users, histories = padded(queries)
    blocks = [slice(n, n + ROWS) for n in range(0, len(users), ROWS)]
    found = np.concatenate([answer(users[block], histories[block])[:, :K] for block in blocks])
    expected = expected[:, : found.shape[1]]  # an export may answer fewer
    shared = float(overlap(found, expected, found.shape[1]).mean())
    theirs, own = (_ndcg(lists, targets) for lists in (found, expected))
    quality = 1.0 if own == theirs else theirs / max(own, 1e-12)
    times = _timed(answer, users, histories)
    if shared < least_overlap or quality < least_quality:
        raise ModelError(
            f"the export isn't the student: it shares {shared:.3f} of the ten best items with the one in PyTorch (at "
            f"least {least_overlap}), and has {quality:.1%} of its NDCG@10, {theirs:.4f} of {own:.4f} (at least "
            f"{least_quality:.1%}), over {len(queries)} held-out queries; nothing was written"
        )
    p50, p99 = (float(value) for value in np.percentile(times, [50, 99]))
    return ExportInfo(bytes=size, queries=len(queries), overlap=shared, quality=quality, p50_ms=p50, p99_ms=p99)


def padded(queries: Queries) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Users (B,) and histories (B, L) int64, what is masked in them first, -1 behind.

    >>> padded(Queries(np.array([-1], np.int32), Ragged.from_rows([[4, 2]])))[1]
    array([[4, 2]])
    """
    rows, places = queries.histories.positions()
    width = max(1, int(queries.histories.lengths.max(initial=0)))
    histories: NDArray[np.int64] = np.full((len(queries), width), -1, np.int64)
    histories[rows, places - queries.histories.starts[rows]] = queries.histories.values[places]
    return queries.users.astype(np.int64), histories


def _ndcg(lists: NDArray[np.integer], targets: Ragged) -> float:
    """The mean NDCG of top lists (Q, K) at K."""
    rows, items = targets.flat()
    n_items = 1 + max(int(items.max(initial=0)), int(lists.max(initial=0)))
    wanted = np.unique(rows * n_items + items)
    keys = np.arange(len(lists))[:, None] * n_items + lists
    hits = np.isin(keys, wanted) & (lists >= 0)
    return float(ndcg(hits, np.bincount(wanted // n_items, minlength=len(lists)), lists.shape[1]).mean())


def _timed(answer: Answer, users: NDArray[np.int64], histories: NDArray[np.int64]) -> NDArray[np.float64]:
    """Milliseconds of single queries."""
    lengths = np.maximum((histories >= 0).sum(1), 1)
    times = np.empty(TIMED)
    for turn in range(-WARM_UP, TIMED):
        row = turn % len(users)
        one = slice(row, row + 1)
        begin = time.perf_counter()
        answer(users[one], histories[one, : lengths[row]])
        if turn >= 0:
            times[turn] = 1e3 * (time.perf_counter() - begin)
    return times
