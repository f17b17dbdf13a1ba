"""One teacher over two domains: `python -m benchmarks.cross_domain [--trials 8]`.

Of recipes/cross-domain.yaml, for sport and phone articles and for sport and clothes: trains the teacher, tunes each
domain's students with the same number of trials, runs each domain, and writes results/cross_domain.json. Goes on where
it stopped, in runs/cross-domain.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from benchmarks.harness import ROOT, write_result
from distilrec.cli.progress import Display
from distilrec.pipeline import across_again, run, tune_across
from distilrec.recipe import read_recipe
from distilrec.report import Across, Domain

__all__ = ["figures", "main"]

PAIRS = {"phone": "sport_phone", "cloth": "sport_cloth"}  # by the domain beside sport


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, and write the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cross_domain", description=__doc__)
    parser.add_argument("--trials", type=int, default=8)
    chosen = parser.parse_args(arguments)
    recipe = read_recipe(ROOT / "recipes" / "cross-domain.yaml")
    found: dict[str, Across] = {}
    for other, name in PAIRS.items():
        data = recipe.data.model_copy(update={"source": f"amazon_cross_domain/{name}.parquet"})
        pair, out = recipe.model_copy(update={"data": data}), ROOT / "runs" / "cross-domain" / name
        with Display() as display:
            for domain, tuned in tune_across(pair, out, chosen.trials, progress=display).items():
                run(tuned, out / domain, progress=display)
        found[other] = across_again(out)
    detail: dict[str, Any] = {PAIRS[other]: each.model_dump(mode="json") for other, each in found.items()}
    command = f"python -m benchmarks.cross_domain --trials {chosen.trials}"
    print(write_result("cross_domain", command, figures(found), detail))


def figures(found: dict[str, Across]) -> dict[str, float]:
    """Of the domain beside sport, by its name: what the distilled student gains over the student alone, and p.

    `sport_change_lower95`: the lower end of the 95 % interval of that gain in sport, of the worse pair; -0.02 says that
    at most 2 % was lost. `NAME_from_other_domains`: what is left of the gain beside a student taught by a teacher of
    its own domain.
    """
    kept: dict[str, float] = {}
    for other, each in found.items():
        alone, own = _changes(each, other)
        kept |= {f"{other}_gain": alone.share, f"{other}_p_value": alone.p_holm}
        kept |= {f"{other}_from_other_domains": own.share, f"{other}_from_other_domains_p_value": own.p_holm}
    kept["sport_change_lower95"] = min(_changes(each, "sport")[0].ci95[0] for each in found.values())
    return kept


def _changes(found: Across, name: str) -> tuple[Any, Any]:
    domain: Domain = next(each for each in found.domains if each.name == name)
    if domain.over_alone is None or domain.over_own is None:
        raise ValueError(f"{name}: a student without any hit can't be compared to")
    return domain.over_alone, domain.over_own


if __name__ == "__main__":
    main()
