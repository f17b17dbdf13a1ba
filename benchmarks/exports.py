"""Every target of `distilrec export`, on one student: `python -m benchmarks.exports`.

Exports the distilled student of benchmarks.replay (MovieLens 1M), or another BUNDLE, to each of them; what the gate
measures on the bundle's held-out queries is the result. Where there are no environments for LiteRT and ExecuTorch they
are installed. Needs one core with nothing beside.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import RESULTS, ROOT, write_result
from distilrec.export import TARGETS, Thresholds, export
from distilrec.runtime import Served

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Export, and write results/exports.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exports")
    parser.add_argument("bundle", type=Path, nargs="?", default=ROOT / "runs" / "replay" / "bundle")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    told: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as own:
        for target in TARGETS:
            # What would be refused is told, too.
            info = export(given.bundle, target, Path(own, target), thresholds=Thresholds(0.0, 0.0))
            told[target] = info.model_dump()
            print(target, told[target], flush=True)
    student = Served.load(given.bundle).manifest.student.model_dump(mode="json")
    figures = {
        "least_overlap": min(info["overlap"] for info in told.values()),
        "least_quality": min(info["quality"] for info in told.values()),
    }
    detail: dict[str, Any] = {"student": student, "targets": told}
    print(write_result("exports", "python -m benchmarks.exports", figures, detail, folder=given.out))


if __name__ == "__main__":
    main()
