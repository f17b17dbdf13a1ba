"""What every benchmark says beside its figures: which code, which machine, which versions, when."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import JsonValue

from distilrec.report.parts import Environment

__all__ = [
    "PACKAGES",
    "RESULTS",
    "ROOT",
    "add_figures",
    "commit",
    "figures_of",
    "machine",
    "versions",
    "write_result",
]

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = ("distilrec", "numpy", "polars", "scipy", "torch")


def machine() -> str:
    """Processor, cores that this process may use, memory, system and GPU, in one line."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = f"{platform.system()} {platform.release()}"
    return f"{_processor()}, {cores} cores, {memory:.0f} GiB, {system}, {_gpu()}"


def versions(names: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Python's version and those of installed packages.

    >>> sorted(versions(["numpy"]))
    ['numpy', 'python']
    """
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in names}}


def commit(checkout: Path | None = None) -> str:
    """The commit checked out here, or in `checkout`; "-changed" follows where files differ that may change a number."""
    changed = _git(checkout or ROOT, "status", "--porcelain", "--", ".", ":!benchmarks/results", ":!*.md")
    return _git(checkout or ROOT, "rev-parse", "HEAD") + ("-changed" if changed else "")


def write_result(
    name: str,
    command: str,
    figures: Mapping[str, float],
    detail: Mapping[str, JsonValue],
    *,
    environment: Environment | None = None,
    folder: Path = RESULTS,
) -> Path:
    """Write NAME.json, atomically, and return its path.

    command: what repeats the measurement. figures: what the benchmark is asked for, by name; all finite, else
    ValueError. detail: every run behind the figures. environment: where and when the measurement was made, if
    not by this process now.
    """
    measured = environment or Environment(
        versions=versions(),
        machine=machine(),
        seed=0,
        command=command,
        date=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        commit=commit(),
    )
    content = {
        "name": name,
        "command": command,
        "commit": measured.commit,
        "date": measured.date,
        "machine": measured.machine,
        "versions": measured.versions,
        "figures": dict(figures),
        "detail": dict(detail),
    }
    return _write(folder, name, content)


def figures_of(name: str, folder: Path = RESULTS) -> dict[str, float]:
    """The figures of NAME.json; none where it hasn't been measured."""
    path = folder / f"{name}.json"
    return dict(json.loads(path.read_bytes())["figures"]) if path.exists() else {}


def add_figures(name: str, figures: Mapping[str, float], folder: Path = RESULTS) -> None:
    """Put figures that another benchmark has measured beside those of NAME.json, where there is one."""
    path = folder / f"{name}.json"
    if path.exists():
        content = json.loads(path.read_bytes())
        _write(folder, name, content | {"figures": content["figures"] | dict(figures)})


def _write(folder: Path, name: str, content: Mapping[str, object]) -> Path:
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    return partial.replace(path)


def _git(checkout: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=checkout, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _processor() -> str:
    """The name of the processor; Linux keeps it where `platform` doesn't look."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text(encoding="utf-8").splitlines() if about.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _gpu() -> str:
    if shutil.which("nvidia-smi") is None:
        return "no GPU"
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    names = subprocess.run(query, capture_output=True, text=True, check=False).stdout.split("\n")
    return ", ".join(name for name in names if name) or "no GPU"
