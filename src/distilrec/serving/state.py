"""What users and sessions clicked since the bundle was made, and items that were added."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

__all__ = ["KEPT", "Click", "State"]

KEPT = 1_000  # clicks of a user or session; older ones are forgotten
Id: TypeAlias = str | int
Click: TypeAlias = tuple[str, Id]
"""The key of a user or session, and the item."""


class State(Protocol):
    """Kept outside of the process, so that it survives it, and that servers can share it.

    What `add` has returned from is kept, whatever happens to the server. All raise StateError where the place can't be
    reached, and work again once it can.
    """

    async def add(self, clicks: Sequence[Click]) -> None:
        """Keep clicks, in order."""
        ...

    async def taken(self, keys: Sequence[str]) -> list[list[Id]]:
        """The last 1,000 items that each clicked, oldest first."""
        ...

    async def forget(self, key: str) -> None:
        """Delete all that is kept of a user or session."""
        ...

    async def expire(self) -> None:
        """Forget those who clicked nothing for as long as clicks are kept; to be called now and then."""
        ...

    async def add_items(self, items: Sequence[tuple[Id, bytes]]) -> None:
        """Keep what is told of new items; of one id the last counts."""
        ...

    async def items(self) -> list[tuple[Id, bytes]]:
        """The new items, in the order in which they came."""
        ...

    async def close(self) -> None:
        """Let go of files and connections."""
        ...
