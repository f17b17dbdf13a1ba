"""Two domains that share content and no users: `python -m benchmarks.bridged`.

Parts MovieLens 1M in comedies (Comedy, Children's, Animation and Musical among their genres) and all other films, and
its users by lot in two halves, each of which keeps one domain; runs recipes/cross-domain-content.yaml on it, goes on
where it stopped, and writes results/bridged.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from benchmarks.harness import ROOT, write_result
from distilrec.cli.progress import Display
from distilrec.data import DataConfig, Dataset, load
from distilrec.pipeline import run_across
from distilrec.recipe import read_recipe
from distilrec.report import Across
from distilrec.rng import generator

__all__ = ["figures", "main", "parted"]

COMIC = ("Comedy", "Children's", "Animation", "Musical")
OUT = ROOT / "runs" / "bridged"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, and write the result."""
    argparse.ArgumentParser(prog="python -m benchmarks.bridged", description=__doc__).parse_args(arguments)
    log = OUT / "bridged.parquet"
    if not log.is_file():
        OUT.mkdir(parents=True, exist_ok=True)
        partial = log.with_suffix(".partial")
        parted(load(DataConfig(source="ml-1m")).dataset).write_parquet(partial)
        Path(partial).replace(log)
    recipe = read_recipe(ROOT / "recipes" / "cross-domain-content.yaml")
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"source": str(log)})})
    with Display() as display:
        found = run_across(recipe, OUT, progress=display)
    print(write_result("bridged", "python -m benchmarks.bridged", figures(found), found.model_dump(mode="json")))


def parted(dataset: Dataset, seed: int = 0) -> pl.DataFrame:
    """The log with a column `domain`, comic or other, of which each user keeps one by lot."""
    assert dataset.items is not None  # MovieLens has genres
    comic = dataset.items["genres"].list.eval(pl.element().is_in(COMIC)).list.any().fill_null(False).to_numpy()
    users, positions = dataset.interactions.flat()
    items = dataset.interactions.histories.values[positions]
    kept = comic[items] == (generator(seed, "halves").random(dataset.interactions.n_users) < 0.5)[users]
    assert dataset.interactions.times is not None
    return pl.DataFrame(
        {
            "user": dataset.user_ids.decode(users[kept]),
            "item": dataset.item_ids.decode(items[kept]),
            "time": dataset.interactions.times[positions[kept]],
            "domain": ["comic" if each else "other" for each in comic[items[kept]]],
        }
    )


def figures(found: Across) -> dict[str, float]:
    """Of each domain: what the distilled student gains over the student alone, and what the other domain brought."""
    kept: dict[str, float] = {}
    for domain in found.domains:
        for name, change in (("gain", domain.over_alone), ("from_other_domain", domain.over_own)):
            if change is None:
                raise ValueError(f"{domain.name}: a student without any hit can't be compared to")
            kept |= {f"{domain.name}_{name}": change.share, f"{domain.name}_{name}_p_value": change.p_holm}
    return kept


if __name__ == "__main__":
    main()
