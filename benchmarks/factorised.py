"""A teacher's final scores, factorised without training, beside students distilled from it.

`python -m benchmarks.factorised` trains the teacher of recipes/methods/ml-1m.yaml in runs/factorised, a SASRec, and
tests matrix factorisations of some widths that are truncated singular value decompositions of what it says of each user
at the end of training: as large as a distilled student of that width, and as cheap to ask. It writes
results/factorised.json. Distilled students of width 16 stand in methods_ml-1m.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.harness import ROOT, write_result
from distilrec.cli.progress import Display
from distilrec.data import final_queries
from distilrec.models import DotProductModel, MatrixFactorizationConfig, Model, build, load_model
from distilrec.pipeline.measure import test_model
from distilrec.pipeline.prepare import plan_of
from distilrec.pipeline.runner import run_tasks
from distilrec.recipe import read_recipe

__all__ = ["factorise", "main"]

WIDTHS = (8, 16, 32, 64)
METRIC = "ndcg@10"
AT_ONCE = 512


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, factorise, and write the result."""
    argparse.ArgumentParser(prog="python -m benchmarks.factorised", description=__doc__).parse_args(arguments)
    recipe = read_recipe(ROOT / "recipes" / "methods" / "ml-1m.yaml")
    context, plan = plan_of(recipe, ROOT / "runs" / "factorised")
    with Display() as display:
        run_tasks(plan.members, context, progress=display)
    teacher, train = load_model(context.store.folder(plan.members[0].stage)), context.prepared.split.train
    assert isinstance(teacher, DotProductModel)
    queries, _ = final_queries(train)
    with torch.no_grad():
        parts = [teacher.hidden(queries[n : n + AT_ONCE]) for n in range(0, len(queries), AT_ONCE)]
        hidden, bias = torch.zeros(train.n_users, teacher.width), teacher.item_bias()
        hidden[torch.from_numpy(queries.users).long()] = torch.cat(parts)
        vectors = teacher.item_vectors().detach()
        bias = torch.zeros(len(vectors)) if bias is None else bias.detach()

    def quality(model: Model) -> float:
        test = test_model(model, context.prepared, (METRIC,), from_train=True, words={})
        return float(test.metrics[METRIC].mean())

    figures = {f"{METRIC}_teacher": quality(teacher)}
    for width in WIDTHS:
        model = build(MatrixFactorizationConfig(embedding_size=width), train.n_users, train.n_items, seed=0).eval()
        state = dict(zip(("users", "items", "bias"), factorise(hidden, vectors, bias, width), strict=True))
        model.load_state_dict(state)
        figures[f"{METRIC}_width{width}"] = quality(model)
    print(write_result("factorised", "python -m benchmarks.factorised", figures, {}))


def factorise(hidden: Tensor, vectors: Tensor, bias: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """(U, width), (N, width) and (N,): users, items and biases whose scores are nearest to H V' + b, by squares.

    What is added to all scores of a user doesn't count; what is added to an item's for all users is its bias.
    hidden: (U, D), each user's state. vectors: (N, D).
    """
    h, v = hidden.double(), vectors.double()
    v, bias = v - v.mean(0), (bias - bias.mean()).double()
    bias, h = bias + v @ h.mean(0), h - h.mean(0)
    (of_users, left), (of_items, right) = torch.linalg.qr(h), torch.linalg.qr(v)
    u, values, w = torch.linalg.svd(left @ right.T)
    root = values[:width].sqrt()
    return (of_users @ u[:, :width] * root).float(), (of_items @ w[:width].T * root).float(), bias.float()


if __name__ == "__main__":
    main()
