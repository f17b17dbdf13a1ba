"""A model that answers over a pipe; runs in a converter's own environment, where DistilRec isn't installed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["main", "serve"]


def serve(answer: Callable[[list[Any]], Any]) -> None:
    """Until the pipe is closed: one query, its inputs as arrays of int64 (1, n), gives the best items (1, k).

    On the wire: how many inputs, then of each n and its numbers; back come k and k numbers; all int64.
    """
    given, told = sys.stdin.buffer, sys.stdout.buffer
    while head := given.read(8):
        inputs = []
        for _ in range(int.from_bytes(head, sys.byteorder)):
            n = int.from_bytes(given.read(8), sys.byteorder)
            inputs.append(np.frombuffer(given.read(8 * n), np.int64).reshape(1, n))
        items = np.asarray(answer(inputs)).astype(np.int64).ravel()
        told.write(len(items).to_bytes(8, sys.byteorder) + items.tobytes())
        told.flush()


def main(convert: Callable[[str, str], None], opened: Callable[[str], Callable[[list[Any]], Any]]) -> None:
    """`SCRIPT convert SOURCE OUT` or `SCRIPT serve MODEL`."""
    what, *paths = sys.argv[1:]
    if what == "convert":
        convert(*paths)
    else:
        serve(opened(*paths))
