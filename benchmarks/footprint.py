"""What a server installs, and how long it takes to answer: `python -m benchmarks.footprint`.

Makes a virtual environment, installs this project with the extra `serve` into it as constraints.txt pins it, counts the
bytes of its packages, and starts the server on a bundle of the size of MovieLens 1M: from the start of the process to
its first recommendation, the median of several starts. Neither torch nor tables may be there.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults import PORT, ask
from benchmarks.harness import RESULTS, ROOT, write_result
from distilrec.export import BundleIds, write_bundle
from distilrec.models import HistoryEncoderConfig, build
from distilrec.scoring import Queries, Ragged

__all__ = ["main"]

N_ITEMS, N_USERS = 3_706, 6_040
ABSENT = ("torch", "polars", "pyarrow", "scipy")


def environment(folder: Path) -> Path:
    """Install, and return the folder of the packages."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    variables = {**os.environ, "PIP_CONSTRAINT": str(ROOT / "constraints.txt")}
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", f"{ROOT}[serve]"]
    subprocess.run(command, check=True, env=variables)
    return next(folder.glob("lib/python*/site-packages"))


def mebibytes(folder: Path) -> float:
    """Of all files below."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) / 2**20


def start_seconds(python: Path, bundle: Path) -> float:
    """From the start of the process to the first recommendation."""
    begin = time.monotonic()
    command = [str(python), "-m", "distilrec", "serve", str(bundle), "--port", str(PORT), "--quiet"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=bundle.parent)
    try:
        while ask("POST", "/recommend", {"history": [1, 2, 3]})[0] != 200:
            if process.poll() is not None:
                raise RuntimeError("the server ended")
            time.sleep(0.005)
        return time.monotonic() - begin
    finally:
        process.terminate()
        process.wait()


def main(arguments: Sequence[str] | None = None) -> None:
    """Install, measure, and write results/footprint.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.footprint")
    parser.add_argument("--starts", type=int, default=7)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as own:
        packages = environment(Path(own) / "environment")
        present = [name for name in ABSENT if (packages / name).exists()]
        if present:
            raise RuntimeError(f"{', '.join(present)} should not be there")
        sizes = {path.name: mebibytes(path) for path in packages.iterdir() if path.is_dir()}
        model = build(HistoryEncoderConfig(embedding_size=32, history_length=50), 1, N_ITEMS, seed=0).eval()
        rng = np.random.default_rng(0)
        taken = Ragged.from_rows(rng.integers(0, N_ITEMS, (N_USERS, 165)).tolist())
        ids = BundleIds(range(N_ITEMS), [f"Film {n}" for n in range(N_ITEMS)], range(N_USERS), taken)
        queries = Queries(np.arange(1_000, dtype=np.int32), taken[np.arange(1_000)])
        write_bundle(model, ids, (queries, Ragged.from_rows([[1]] * 1_000)), Path(own) / "bundle")
        python = Path(own) / "environment" / "bin" / "python"
        starts = [start_seconds(python, Path(own) / "bundle") for _ in range(given.starts + 1)][
            1:
        ]  # the first compiles
        whole = mebibytes(packages)
    figures = {"serving_environment_mib": whole, "cold_start_ms": 1e3 * statistics.median(starts)}
    largest = dict(sorted(sizes.items(), key=lambda pair: -pair[1])[:12])
    detail: dict[str, Any] = {"starts": starts, "mib": largest}
    command = f"python -m benchmarks.footprint --starts {given.starts}"
    print(write_result("footprint", command, figures, detail, folder=given.out), figures)


if __name__ == "__main__":
    main()
