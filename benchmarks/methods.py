"""Distillation methods side by side on one data set: `python -m benchmarks.methods citeulike [--widths 10,20]`.

Runs what `distilrec bench methods recipes/methods/NAME.yaml` runs, in runs/methods/NAME, goes on where it stopped, and
writes results/methods_NAME.json. Tuning trials are kept in results/methods/NAME.json, so that hours of them aren't lost
with runs/; teacher, soft labels and the students that are tested are trained anew there. Figures by width are those of
the method with the best validation quality, and widths that weren't asked for stay as they were measured before; where
the metric is NDCG@10, figures are those of plain soft labels at the first width. Beside CiteULike's own stand those of
`python -m benchmarks.htd`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.from_report import METRIC, figures
from benchmarks.harness import RESULTS, ROOT, figures_of, write_result
from benchmarks.trials import Keeping, keep, restore
from distilrec.cli.progress import Display
from distilrec.pipeline import bench_methods
from distilrec.recipe import read_recipe
from distilrec.report import Report, leaderboard
from distilrec.report.parts import Arm

__all__ = ["best_arm", "detail_of", "figures_by_width", "figures_of_one", "main", "other_widths"]

RECIPES = ROOT / "recipes" / "methods"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, and write the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.methods", description=__doc__)
    parser.add_argument("name", choices=sorted(path.stem for path in RECIPES.glob("*.yaml")))
    parser.add_argument("--methods", help="names, such as kl,rrd; default: all that fit")
    parser.add_argument("--widths", help="such as 10,20; default: the recipe's")
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--seeds", type=int)
    chosen = parser.parse_args(arguments)
    recipe = read_recipe(RECIPES / f"{chosen.name}.yaml")
    if chosen.seeds is not None:
        recipe = recipe.model_copy(update={"evaluation": recipe.evaluation.model_copy(update={"seeds": chosen.seeds})})
    methods = None if chosen.methods is None else chosen.methods.split(",")
    widths = [] if chosen.widths is None else [int(width) for width in chosen.widths.split(",")]
    out = ROOT / "runs" / "methods" / chosen.name
    trials = RESULTS / "methods" / f"{chosen.name}.json"
    restore(trials, out)
    try:
        with Display() as display:
            keeping = Keeping(display, out, trials)
            reports = bench_methods(recipe, out, methods, trials=chosen.trials, widths=widths, progress=keeping)
    finally:
        keep(out, trials)
    given = {name: getattr(chosen, name) for name in ("methods", "widths", "trials", "seeds")}
    options = "".join(f" --{name} {value}" for name, value in given.items() if value is not None)
    command = f"python -m benchmarks.methods {chosen.name}{options}"
    of_one = next(iter(reports.values()))
    name = f"methods_{chosen.name}"
    detail = {f"width {width}": detail_of(report) for width, report in reports.items()}
    if of_one.metric == METRIC:
        found = figures_of_one(of_one)
    else:
        others = other_widths(name, detail)
        found, detail = others["figures"] | figures_by_width(reports), detail | others["detail"]
    if chosen.name == "citeulike":
        found |= figures_of("htd")
    print(write_result(name, command, found, detail, environment=of_one.environment))


def other_widths(name: str, measured: Mapping[str, Any], folder: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """Figures and detail of the widths of NAME.json that aren't measured now, and what measured them."""
    path = folder / f"{name}.json"
    if not path.exists():
        return {"figures": {}, "detail": {}}
    earlier = json.loads(path.read_bytes())
    by = {key: earlier[key] for key in ("command", "commit", "date", "machine")}
    kept = {width: by | detail for width, detail in earlier["detail"].items() if width not in measured}
    ends = tuple(f"_{width.replace(' ', '')}" for width in kept)
    figures = {key: value for key, value in earlier["figures"].items() if key.removesuffix("_alone").endswith(ends)}
    return {"figures": figures, "detail": kept}


def best_arm(report: Report) -> Arm:
    """The distilled student to take: of the best validation quality, in the search or else in training."""
    searched = {row.arm: row.validation or 0.0 for row in report.tuning}
    curves = {curve.arm: curve for curve in report.curves}

    def validation(arm: Arm) -> float:
        if arm.name in searched:
            return searched[arm.name]
        return max((value or 0.0 for value in curves[arm.name].validation), default=0.0)

    return max((arm for arm in report.arms if arm.role == "distilled_student"), key=validation)


def figures_by_width(reports: Mapping[int, Report]) -> dict[str, float]:
    """Quality on test of teacher, best method and student alone, for each width."""
    metric = next(iter(reports.values())).metric
    found = {f"{metric}_teacher": next(iter(reports.values())).arm("teacher").metrics[metric].mean}
    for width, report in reports.items():
        found[f"{metric}_width{width}"] = best_arm(report).metrics[metric].mean
        found[f"{metric}_width{width}_alone"] = report.arm("student_alone").metrics[metric].mean
    return found


def figures_of_one(report: Report) -> dict[str, float]:
    """What is asked of every distilled student, of plain soft labels; and its share of parameters and bytes."""
    teacher, student = report.arm("teacher"), report.arm("distilled_student")
    sizes = {"parameter_ratio": student.parameters / teacher.parameters, "bytes_ratio": student.bytes / teacher.bytes}
    return figures(report) | sizes


def detail_of(report: Report) -> dict[str, Any]:
    """The leaderboard, and how each arm was tuned."""
    return {
        "name": report.recipe.get("name", report.data.name),
        "data": report.data.model_dump(mode="json"),
        "metric": report.metric,
        "leaderboard": [row.model_dump() for row in leaderboard(report)],
        "tuning": [row.model_dump(mode="json") for row in report.tuning],
        "best_on_validation": best_arm(report).name,
    }


if __name__ == "__main__":
    main()
