"""A user's own ids, and their places."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Ids"]


@dataclass(frozen=True, eq=False)
class Ids:
    """Distinct strings or integers, in the order of their places 0..n-1; `data.Ids` without a table.

    >>> Ids(["b", "ü"]).places(["ü", "?"])
    array([ 1, -1], dtype=int32)
    """

    values: Sequence[Any]

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def _place_of(self) -> dict[Any, int]:
        return {value: place for place, value in enumerate(self.values)}

    @cached_property
    def _are_texts(self) -> bool:
        return isinstance(next(iter(self.values), ""), str)

    def place(self, external: Any) -> int:
        """Its place, or -1 where it is unknown; a number counts as the text that it is written as, and the reverse."""
        place = self._place_of.get(external) if isinstance(external, str | int) else None
        if place is not None:
            return place
        return self._place_of.get(self.read(external), -1)

    def read(self, external: Any) -> str | int | None:
        """An id of the kind that these are, or None where it can't be one.

        >>> [Ids([7, 8]).read(each) for each in ("9", 9.0, "0_9", "nine")]
        [9, 9, None, None]
        """
        if isinstance(external, np.generic):
            external = external.item()
        if isinstance(external, float) and external.is_integer():
            external = int(external)
        if isinstance(external, bool) or not isinstance(external, str | int):
            return None
        if self._are_texts:
            return str(external)
        try:
            number = int(external)
        except ValueError:
            return None
        return number if str(number) == str(external) else None  # "1_0" and " 10" are others than 10

    def known(self, external: Sequence[str | int]) -> list[int]:
        """The places of those ids that are known, in their order.

        >>> Ids([7, 8]).known([8, 9, "7"])
        [1, 0]
        """
        try:
            return list(map(self._place_of.__getitem__, external))
        except KeyError:
            return [place for place in map(self.place, external) if place >= 0]

    def places(self, external: Iterable[Any]) -> NDArray[np.int32]:
        """(n,) int32: the place of each id, -1 where it is unknown."""
        return np.fromiter(map(self.place, external), np.int32)

    def extended(self, new: Sequence[Any]) -> Ids:
        """With some more behind."""
        return Ids([*self.values, *new])
