"""What is shipped: a student with everything that it needs to recommend in the user's own ids, in one folder."""

from pathlib import Path

from distilrec.bundle.bundle import Bundle, HeldOut, ItemContent
from distilrec.bundle.manifest import ExportInfo, Lineage, Manifest, StudentInfo

__all__ = ["Bundle", "ExportInfo", "HeldOut", "ItemContent", "Lineage", "Manifest", "StudentInfo", "from_pretrained"]


def from_pretrained(folder: str | Path) -> Bundle:
    """Read a bundle: the distilled student of a run lies in OUT/bundle."""
    return Bundle.from_pretrained(folder)
