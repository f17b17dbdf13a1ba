"""Look at an items file and guess what content it holds."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

import polars as pl

from distilrec.data.columns import ItemColumns
from distilrec.data.content import Modality, ModalityKind
from distilrec.data.files import Table
from distilrec.data.look import Look, look_at
from distilrec.data.names import words_of

__all__ = ["guess_content"]

_MAGIC: dict[bytes, ModalityKind] = {
    b"\xff\xd8\xff": "image",
    b"\x89PNG": "image",
    b"GIF8": "image",
    b"fLaC": "audio",
    b"OggS": "audio",
    b"ID3": "audio",
}
_RIFF: dict[bytes, ModalityKind] = {b"WAVE": "audio", b"WEBP": "image"}
_ENDINGS: dict[str, ModalityKind] = {
    **dict.fromkeys((".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp"), "image"),
    **dict.fromkeys((".wav", ".flac", ".ogg", ".mp3"), "audio"),
}
_NUMBERS = r"^\s*\[\s*-?[0-9.]+([eE][-+]?[0-9]+)?\s*(,|\s|\])"  # how vectors are written as text
_WORDS = 4  # on average; columns of fewer are categories where they repeat
_LATER = {
    *("rating", "ratings", "stars", "score", "scores", "votes", "vote", "award", "awards", "reviews", "popularity"),
    *("revenue", "gross", "sales", "likes", "views", "rank", "helpful"),
}


def guess_content(table: Table, columns: ItemColumns) -> dict[str, Modality]:
    """The modalities that an items file seems to hold, by name; names and the first values of its columns tell.

    Texts are one modality together, categories and numbers another; each column of images, of sound and of vectors is
    one of its own. What is named like ratings, votes or awards knows later, and is kept apart.

    >>> from distilrec.data.files import open_frame
    >>> table = open_frame(pl.DataFrame({"id": [1, 2], "title": ["A", "B"], "poster": [b"\\x89PNG..", None]}))
    >>> list(guess_content(table, ItemColumns(item="id", title="title")))
    ['text', 'poster']
    """
    found: dict[str, ModalityKind] = {}
    for name, look in look_at(table).items():
        kind = None if name == columns.item else "text" if name == columns.title else _kind(look)
        if kind is not None:
            found[name] = kind
    later = {name: _LATER.isdisjoint(words_of(name)) is False for name in found}
    modalities = _together(found, [name for name in found if not later[name]], knows_later=False)
    return modalities | _together(found, [name for name in found if later[name]], knows_later=True)


def _together(found: Mapping[str, ModalityKind], names: list[str], *, knows_later: bool) -> dict[str, Modality]:
    modalities = {}
    for kind in ("text", "attributes"):
        own = tuple(name for name in names if found[name] == kind)
        if own:
            name = f"later_{kind}" if knows_later else kind
            modalities[name] = Modality(kind=kind, columns=own, knows_later=knows_later)
    for name in names:
        if found[name] not in ("text", "attributes"):
            plain = "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in name.lower())
            wanted = plain.strip("_") or found[name]
            free = (wanted if n == 1 else f"{wanted}_{n}" for n in count(1))
            own_name = next(each for each in free if each not in modalities)
            modalities[own_name] = Modality(kind=found[name], columns=(name,), knows_later=knows_later)
    return modalities


def _kind(look: Look) -> ModalityKind | None:
    values = look.values
    if len(values) == 0:
        return None
    if values.dtype == pl.Binary:
        first = bytes(values[0][:12])
        return _RIFF.get(first[8:12]) or next((kind for magic, kind in _MAGIC.items() if first.startswith(magic)), None)
    if isinstance(values.dtype, pl.List | pl.Array):
        return "vectors" if values.dtype.inner.is_numeric() else "attributes"
    if values.dtype != pl.String:
        return "attributes" if values.dtype.is_numeric() or values.dtype == pl.Boolean else None
    if values.head(100).str.contains(_NUMBERS).all():
        return None  # vectors as text, which the file can't hold as such
    endings = {_ENDINGS.get(f".{text.rsplit('.', 1)[-1].lower()}") for text in values.head(100)}
    if len(endings) == 1 and None not in endings:
        return endings.pop()
    words = values.str.split(" ").list.len().mean()
    many = isinstance(words, float) and words >= _WORDS
    return "text" if many or 2 * look.n_distinct > len(values) else "attributes"
