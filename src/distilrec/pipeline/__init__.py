"""A recipe's run: its stages, each run once, and the report made of them."""

from distilrec.pipeline.across import across_again, explain_across, run_across, tune_across
from distilrec.pipeline.bench import bench_methods
from distilrec.pipeline.choice import choose
from distilrec.pipeline.plan import Plan
from distilrec.pipeline.replay import Course, replay
from distilrec.pipeline.run import explain, forecast_labels, report_again, run, run_part
from distilrec.pipeline.runner import Progress
from distilrec.pipeline.smallest import Limits, find_smallest
from distilrec.pipeline.tuning import tune

__all__ = [
    "Course",
    "Limits",
    "Plan",
    "Progress",
    "across_again",
    "bench_methods",
    "choose",
    "explain",
    "explain_across",
    "find_smallest",
    "forecast_labels",
    "replay",
    "report_again",
    "run",
    "run_across",
    "run_part",
    "tune",
    "tune_across",
]
