"""What is shipped: a student with everything that it needs to recommend in the user's own ids, in one folder."""

from pathlib import Path

from distilrec.bundle.bundle import Bundle, ItemContent

__all__ = ["Bundle", "ItemContent", "from_pretrained"]


def from_pretrained(folder: str | Path) -> Bundle:
    """Read a bundle: the distilled student of a run lies in OUT/bundle; OWNER/NAME is fetched from a hub."""
    return Bundle.from_pretrained(folder)
