"""Which columns of a table mean what."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, model_validator

__all__ = ["Columns", "ItemColumns", "listing"]


class _Names(BaseModel):
    """Column names; no column may have two meanings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="after")
    def _distinct(self) -> _Names:
        names = list(self.named().values())
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"column {twice[0]!r} has two meanings; give each meaning its own column")
        return self

    def named(self) -> dict[str, str]:
        """Meaning -> the name of its column, for the meanings that have one."""
        return {key: value for key, value in self.model_dump().items() if value is not None}


class Columns(_Names):
    """The columns of an interaction log.

    user, item: ids, strings or integers of any script.
    time: integers in any unit, dates, or datetimes (kept as microseconds); None means the order of the rows.
    rating: what the user gave. label: 1 liked, 0 disliked. weight: how often the interaction counts, at least 0.
    part: train, validation (or valid, val, dev) or test; for the split of kind `column`.
    domain: which of several catalogues the item belongs to, such as books or films.

    >>> Columns(user="userId", item="movieId", rating="rating").named()
    {'user': 'userId', 'item': 'movieId', 'rating': 'rating'}
    """

    user: str
    item: str
    time: str | None = None
    rating: str | None = None
    weight: str | None = None
    label: str | None = None
    part: str | None = None
    domain: str | None = None


class ItemColumns(_Names):
    """The columns of an items file: its id and its title; every other column is an attribute."""

    item: str
    title: str | None = None


def listing(names: Sequence[str]) -> str:
    """The names of a table's columns for an error, cut short where they are many or long.

    >>> listing(["user", "x" * 100])
    "'user', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..'"
    """
    shown = [repr(name if len(name) <= 40 else name[:38] + "..") for name in names[:20]]
    return ", ".join(shown) + (f" and {len(names) - 20} more" if len(names) > 20 else "") or "no columns"
