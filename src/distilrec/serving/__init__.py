"""A server that answers while the user clicks: a bundle, live state, and HTTP."""

from distilrec.serving.app import create_app
from distilrec.serving.settings import Settings

__all__ = ["Settings", "create_app"]
