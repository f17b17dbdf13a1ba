"""From a trained student to files that serve without torch."""

from distilrec.export.bundle import ids_of, write_bundle
from distilrec.export.card import card

__all__ = ["card", "ids_of", "write_bundle"]
