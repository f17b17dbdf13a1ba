"""From a trained student to files that serve without torch."""

from distilrec.export.bundle import BundleIds, ids_of, write_bundle
from distilrec.export.card import card
from distilrec.export.export import TARGETS, Target, Thresholds, export

__all__ = ["TARGETS", "BundleIds", "Target", "Thresholds", "card", "export", "ids_of", "write_bundle"]
