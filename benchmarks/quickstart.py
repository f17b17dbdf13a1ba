"""How long `make demo` takes from nothing, and what it finds: `python -m benchmarks.quickstart`."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.from_report import detail, figures
from benchmarks.harness import ROOT, commit, machine, write_result
from distilrec.report import Report

__all__ = ["main"]


def main(variables: list[str]) -> None:
    """Clone the last commit, time `make demo` there with empty caches, and write the result.

    variables: passed on to make, such as `PIP_FLAGS=--extra-index-url https://...`.
    """
    with tempfile.TemporaryDirectory() as folder:
        clone, cache = Path(folder) / "distilrec", Path(folder) / "cache"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        seconds = _timed(["make", "demo", *variables], clone, cache)
        report = Report.from_json((clone / "runs" / "quickstart" / "report.json").read_bytes())
        measured = {"machine": machine(), "commit": commit(clone)}
    command = shlex.join(["python", "-m", "benchmarks.quickstart", *variables])
    environment = report.environment.model_copy(update=measured)
    found = {"seconds_total": round(seconds, 1), **figures(report)}
    print(write_result("quickstart", command, found, detail(report), environment=environment))


def _timed(command: list[str], folder: Path, cache: Path) -> float:
    """Seconds of wall clock; nothing that an earlier run left in a cache is found."""
    hidden = {"DISTILREC_DATA", "MAKEFLAGS"}
    inherited = {key: value for key, value in os.environ.items() if key not in hidden}
    begin = time.perf_counter()
    subprocess.run(command, cwd=folder, env={**inherited, "XDG_CACHE_HOME": str(cache)}, check=True)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main(sys.argv[1:])
