"""Metrics: pure NumPy functions.

Top-K metrics take hits and return one value per query; averaging happens elsewhere. `click` holds the metrics
of click and like prediction, some of which share their names with those of top-K lists.
"""

from distilrec.metrics import click
from distilrec.metrics.average_precision import average_precision
from distilrec.metrics.click import CLICK_METRICS
from distilrec.metrics.coverage import coverage
from distilrec.metrics.f1 import f1
from distilrec.metrics.gini import gini
from distilrec.metrics.hit_rate import hit_rate
from distilrec.metrics.metric import TOP_K_METRICS, Metric
from distilrec.metrics.mrr import mrr
from distilrec.metrics.ndcg import ndcg
from distilrec.metrics.novelty import novelty
from distilrec.metrics.platt import Platt, fit_platt
from distilrec.metrics.popularity import popularity, popularity_percentiles, popularity_shift
from distilrec.metrics.precision import precision
from distilrec.metrics.recall import recall

__all__ = [
    "CLICK_METRICS",
    "TOP_K_METRICS",
    "Metric",
    "Platt",
    "average_precision",
    "click",
    "coverage",
    "f1",
    "fit_platt",
    "gini",
    "hit_rate",
    "mrr",
    "ndcg",
    "novelty",
    "popularity",
    "popularity_percentiles",
    "popularity_shift",
    "precision",
    "recall",
]
