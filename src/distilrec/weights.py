"""Numbers of a model as they lie in a file: whole, in half precision, or coded; read without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Precision", "decode"]

Precision: TypeAlias = Literal["float32", "float16", "int8", "pq"]


def decode(encoded: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The arrays that `models.save_model` wrote, by name, coded ones as float32.

    A coded one lies there as several, its name followed by ':' and what it is. In int8: `codes` (n, D), a `scale` per
    row as a share of the `unit`. Product-quantised: `codes` (n, M) uint8, `books` (M, 256, 4), `width` D. Raises
    ValueError or KeyError where they don't fit together.

    >>> coded = {"items:codes": np.array([[127, -127]], np.int8), "items:scale": np.ones(1, np.float16)}
    >>> decode({**coded, "items:unit": np.float32(0.01)})["items"].round(2)
    array([[ 1.27, -1.27]], dtype=float32)
    """
    state = {name: array for name, array in encoded.items() if ":" not in name}
    for name in {full.split(":")[0] for full in encoded if ":" in full}:
        codes = encoded[f"{name}:codes"]
        if f"{name}:scale" in encoded:
            scale = encoded[f"{name}:unit"] * encoded[f"{name}:scale"].astype(np.float32)
            state[name] = codes.astype(np.float32) * scale[:, None]
        else:
            books, width = encoded[f"{name}:books"].astype(np.float32), int(encoded[f"{name}:width"])
            if len(books) != codes.shape[1] or (codes.size and codes.max() >= books.shape[1]):
                raise ValueError(f"{name}: codes {codes.shape} don't fit books {books.shape}")
            state[name] = np.concatenate([book[codes[:, m]] for m, book in enumerate(books)], axis=1)[:, :width]
    return state
