"""What is asked and answered, as JSON."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

__all__ = ["Answer", "Answers", "Event", "Id", "Item", "NewItem", "NewItems", "Queries", "Query", "Refusal", "Stored"]

Id: TypeAlias = Annotated[str, Meta(max_length=500)] | int
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=200)]
Vector: TypeAlias = Annotated[list[float], Meta(max_length=65_536)]


class Query(Struct, forbid_unknown_fields=True):
    """What to recommend for: a user, a session, a history, a search text, or several of them.

    user: known ones are answered from their history, with what they clicked since. session: anyone, by what they
    clicked in it; not beside a user. history: item ids, oldest first, in the place of all that is known and was
    clicked. text: a search, where the student reads text.
    k: items wanted. filter_seen: leave out what was taken. allow: these items only. deny: not these. where: by
    attribute, values of which an item must have one.
    """

    user: Id | None = None
    session: Name | None = None
    history: Annotated[list[Id], Meta(max_length=10_000)] | None = None
    text: Annotated[str, Meta(min_length=1, max_length=2_000)] | None = None
    k: Annotated[int, Meta(ge=1, le=1_000)] = 10
    filter_seen: bool = True
    allow: Annotated[list[Id], Meta(max_length=100_000)] | None = None
    deny: Annotated[list[Id], Meta(max_length=100_000)] | None = None
    where: dict[str, list[str]] | None = None


class Queries(Struct, forbid_unknown_fields=True):
    """Several at once."""

    queries: Annotated[list[Query], Meta(min_length=1, max_length=1_000)]


class Item(Struct, gc=False):
    """An item of an answer."""

    item: Id
    title: str
    score: float


class Answer(Struct):
    """The best items, best first. degraded: what was clicked couldn't be looked up, so it is left out."""

    items: list[Item]
    degraded: bool = False


class Answers(Struct):
    """One for each query."""

    answers: list[Answer]


class Event(Struct, forbid_unknown_fields=True):
    """A click: a user, or a session, took an item. k: answer with so many recommendations after it; 0: none."""

    item: Id
    user: Id | None = None
    session: Name | None = None
    k: Annotated[int, Meta(ge=0, le=1_000)] = 0


class Stored(Struct):
    """What was acknowledged is kept. known: whether the student knows the item. items, degraded: as an answer's."""

    known: bool
    items: list[Item] = []
    degraded: bool = False


class NewItem(Struct, forbid_unknown_fields=True):
    """An item that the student wasn't trained on. vectors: by modality, as its encoder makes them. attributes: by name,
    the values that filters find it by.
    """

    item: Id
    vectors: dict[str, Vector]
    title: Annotated[str, Meta(max_length=1_000)] | None = None
    attributes: Annotated[dict[Name, Annotated[list[Name], Meta(max_length=1_000)]], Meta(max_length=100)] = {}


class NewItems(Struct, forbid_unknown_fields=True):
    """Several at once."""

    items: Annotated[list[NewItem], Meta(min_length=1, max_length=1_000)]


class Refusal(Struct):
    """Why there is no answer, and what to do."""

    error: str
