"""Recipes on content, and on items and users that are new: `python -m benchmarks.content cold-users`.

Runs recipes/NAME.yaml in runs/NAME, goes on where it stopped, and writes results/NAME.json, such as cold_users.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence

from benchmarks.from_report import METRIC, detail, figures
from benchmarks.harness import ROOT, write_result
from distilrec.cli.progress import Display
from distilrec.pipeline import run
from distilrec.recipe import read_recipe
from distilrec.report import Report

__all__ = ["FIGURES", "main"]

TEACHER, ALONE, DISTILLED, HYBRID = "teacher", "student alone", "distilled student", "hybrid"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, and write the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.content", description=__doc__)
    parser.add_argument("name", choices=sorted(FIGURES))
    chosen = parser.parse_args(arguments)
    recipe = read_recipe(ROOT / "recipes" / f"{chosen.name}.yaml")
    with Display() as display:
        report = run(recipe, ROOT / "runs" / chosen.name, progress=display)
    command, name = f"python -m benchmarks.content {chosen.name}", chosen.name.replace("-", "_")
    print(write_result(name, command, FIGURES[chosen.name](report), detail(report), environment=report.environment))


def cold_items(report: Report) -> Mapping[str, float]:
    """Among cold items the distilled student, content-kNN and the ridge regression; in one list, what warm ones lose.

    `warm_ndcg@10_loss`: 1 - distilled / distilled student that knows warm items only. `harmonic_mean`: of cold and warm
    items in one list; `best_other_harmonic_mean`: of the best other arm, and of the best one whose warm items lose as
    little, at most 2 %. `hybrid`: the distilled student beside content-kNN, which weighs both kinds of items alike.
    """
    cold, warm = f"{METRIC} of cold items", f"{METRIC} of warm items"
    only = _mean(report, "warm-only, distilled", warm)
    harmonic = {
        arm.name: _harmonic(*(arm.metrics[f"{name} in one list"].mean for name in (cold, warm))) for arm in report.arms
    }
    lost = {arm.name: 1 - arm.metrics[f"{warm} in one list"].mean / only for arm in report.arms}
    own = harmonic.pop(DISTILLED)
    return {
        f"cold_{METRIC}": _mean(report, DISTILLED, cold),
        f"cold_{METRIC}_content_knn": _mean(report, "content-kNN", cold),
        f"cold_{METRIC}_ridge": _mean(report, "ridge regression", cold),
        f"cold_{METRIC}_teacher": _mean(report, TEACHER, cold),
        "cold_p_value_vs_ridge": _p(report, DISTILLED, "ridge regression", cold),
        f"warm_{METRIC}_loss": lost[DISTILLED],
        f"warm_{METRIC}_loss_hybrid": lost[HYBRID],
        "harmonic_mean": own,
        "harmonic_mean_hybrid": harmonic[HYBRID],
        "best_other_harmonic_mean": max(harmonic.values()),
        "best_other_harmonic_mean_at_2_percent": max(harmonic[name] for name in harmonic if lost[name] <= 0.02),
    }


def cold_users(report: Report) -> Mapping[str, float]:
    """After 3 items: the distilled student beside teacher, student alone, EASE and item-kNN."""
    name = f"{METRIC} after 3 items"
    student, alone = _mean(report, DISTILLED, name), _mean(report, ALONE, name)
    return {
        f"retention_{METRIC}_3_items": student / _mean(report, TEACHER, name),
        "gain_vs_alone_3_items": student / alone - 1,
        "p_value_vs_alone_3_items": _p(report, DISTILLED, ALONE, name),
        f"student_{METRIC}_3_items": student,
        f"ease_{METRIC}_3_items": _mean(report, "ease-300", name),
        f"item_knn_{METRIC}_3_items": _mean(report, "item-knn", name),
    }


def cross_modal(report: Report) -> Mapping[str, float]:
    """What each student of one modality gains over itself alone."""
    return _gain_of(report, "text-only") | _gain_of(report, "image-only")


def multimodal(report: Report) -> Mapping[str, float]:
    """What a student of all modalities keeps and gains, and what one that knows clicks only gains."""
    return {**figures(report), **_gain_of(report, "ids-only"), f"hybrid_{METRIC}": _mean(report, HYBRID, METRIC)}


FIGURES: dict[str, Callable[[Report], Mapping[str, float]]] = {
    "cold-items": cold_items,
    "cold-users": cold_users,
    "cross-modal": cross_modal,
    "multimodal": multimodal,
}


def _gain_of(report: Report, student: str) -> dict[str, float]:
    """What one of the recipe's further students gains over itself alone."""
    distilled, alone = f"{student}, distilled", f"{student}, alone"
    name = student.replace("-", "_")
    return {
        f"{name}_gain": _mean(report, distilled, METRIC) / _mean(report, alone, METRIC) - 1,
        f"{name}_p_value": _p(report, distilled, alone, METRIC),
    }


def _mean(report: Report, arm: str, metric: str) -> float:
    return next(each for each in report.arms if each.name == arm).metrics[metric].mean


def _p(report: Report, a: str, b: str, metric: str) -> float:
    test = report.between(a, b, metric)
    if test is None:
        raise ValueError(f"{a} and {b} weren't compared by {metric}")
    return test.p_holm


def _harmonic(a: float, b: float) -> float:
    return 2 * a * b / (a + b) if a + b else 0.0


if __name__ == "__main__":
    main()
