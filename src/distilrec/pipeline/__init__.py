"""A recipe's run: its stages, each run once, and the report made of them."""

from distilrec.pipeline.plan import Plan
from distilrec.pipeline.run import explain, run
from distilrec.pipeline.runner import Progress

__all__ = ["Plan", "Progress", "explain", "run"]
