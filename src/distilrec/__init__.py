"""Distil a large recommender into a small one, and measure honestly what was kept.

>>> import distilrec
>>> distilrec.__version__
'0.1.0'
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distilrec import errors

if TYPE_CHECKING:
    from distilrec.api import fit, run, run_across
    from distilrec.bundle import Bundle, from_pretrained
    from distilrec.recipe import Recipe, read_recipe
    from distilrec.report import Report

__all__ = [
    "Bundle",
    "Recipe",
    "Report",
    "__version__",
    "errors",
    "fit",
    "from_pretrained",
    "read_recipe",
    "run",
    "run_across",
]

__version__ = "0.1.0"

_PLACES = {
    "Bundle": "bundle",
    "Recipe": "recipe",
    "Report": "report",
    "fit": "api",
    "from_pretrained": "bundle",
    "read_recipe": "recipe",
    "run": "api",
    "run_across": "api",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that `import distilrec` is instant, and a server needs no torch."""
    if name not in _PLACES:
        raise AttributeError(f"module 'distilrec' has no attribute {name!r}")
    if name not in ("Bundle", "Report", "from_pretrained"):
        errors.require("torch", "train", f"distilrec.{name}")
    import importlib

    return getattr(importlib.import_module(f"distilrec.{_PLACES[name]}"), name)
