"""A teacher's final scores, factorised without training, beside students distilled from it.

`python -m benchmarks.factorised` trains the teacher of recipes/methods/ml-1m.yaml in runs/factorised, a SASRec, and
tests matrix factorisations of some widths that are truncated singular value decompositions of what it says of each user
at the end of training: as large as a distilled student of that width, and as cheap to ask. It writes
results/factorised.json. Distilled students of width 16 stand in methods_ml-1m.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from benchmarks.harness import ROOT, write_result
from distilrec.cli.progress import Display
from distilrec.models import MatrixFactorizationConfig, Model, factorise, load_model
from distilrec.pipeline.measure import test_model
from distilrec.pipeline.prepare import plan_of
from distilrec.pipeline.runner import run_tasks
from distilrec.recipe import read_recipe

__all__ = ["main"]

WIDTHS = (8, 16, 32, 64)
METRIC = "ndcg@10"


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, factorise, and write the result."""
    argparse.ArgumentParser(prog="python -m benchmarks.factorised", description=__doc__).parse_args(arguments)
    recipe = read_recipe(ROOT / "recipes" / "methods" / "ml-1m.yaml")
    context, plan = plan_of(recipe, ROOT / "runs" / "factorised")
    with Display() as display:
        run_tasks(plan.members, context, progress=display)
    teacher, train = load_model(context.store.folder(plan.members[0].stage)), context.prepared.split.train

    def quality(model: Model) -> float:
        test = test_model(model, context.prepared, (METRIC,), from_train=True, words={})
        return float(test.metrics[METRIC].mean())

    figures = {f"{METRIC}_teacher": quality(teacher)}
    for width in WIDTHS:
        model = factorise(teacher, train, MatrixFactorizationConfig(embedding_size=width), seed=recipe.seed)
        figures[f"{METRIC}_width{width}"] = quality(model)
    print(write_result("factorised", "python -m benchmarks.factorised", figures, {}))


if __name__ == "__main__":
    main()
