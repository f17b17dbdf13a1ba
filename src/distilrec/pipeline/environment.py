"""Where and how a run was made, for its report."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from distilrec.pipeline.runner import available_cores, threads_per_process

__all__ = ["environment"]

PACKAGES = ("distilrec", "torch", "numpy", "scipy", "polars")


def environment(seed: int) -> dict[str, Any]:
    """The report's part of that name: versions, machine, threads, command, date and commit; seed: the recipe's."""
    return {
        "versions": {"python": platform.python_version(), **{p: importlib.metadata.version(p) for p in PACKAGES}},
        "machine": f"{platform.machine()}, {available_cores()} cores, {platform.system()}",
        "threads": threads_per_process(),
        "seed": seed,
        "command": _command(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
    }


def _command() -> str:
    """What was typed, or that it was a call from Python."""
    program = Path(sys.argv[0])
    typed = program.stem == "distilrec" or program.parts[-2:] == ("distilrec", "__main__.py")
    return shlex.join(["distilrec", *sys.argv[1:]]) if typed else "from Python"


def _commit() -> str | None:
    """The commit of the working folder, where it is a git checkout."""
    try:
        result = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
