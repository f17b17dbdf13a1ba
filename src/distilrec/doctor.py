"""What is installed and at hand, what is missing, and what that costs."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Check", "examine"]

_CORE = "everything: DistilRec does not start"
_DATA = {
    "narwhals": ("DataFrames of other libraries", "no log can be read"),
    "polars": ("interaction logs, and frames as answers", "no log can be read"),
    "pyarrow": ("Parquet files and DataFrames", "no log can be read"),
}
_SERVE = {
    "httptools": ("a faster server", "`distilrec serve` is slower"),
    "msgspec": ("the server's JSON", "`distilrec serve` does not start"),
    "onnxruntime": ("bundles: what a student answers", "no bundle can be read"),
    "prometheus-client": ("the server's metrics", "`distilrec serve` does not start"),
    "redis": ("state that several servers share", "state lies in a file of SQLite"),
    "starlette": ("the server's routes", "`distilrec serve` does not start"),
    "tokenizers": ("searches in words", "a student can't be searched in words"),
    "uvicorn": ("the server", "`distilrec serve` does not start"),
    "uvloop": ("a faster server", "`distilrec serve` is slower"),
}
_TRAIN = {
    "filelock": ("one process at a time in a recording's folder", "nothing can be recorded"),
    "jinja2": ("report.html", "no run can write its report"),
    "onnx": ("students as ONNX graphs", "no run can write its bundle"),
    "optuna": ("tuning", "settings can't be searched for"),
    "scipy": ("significance tests, product quantisation", "no run can compare its arms"),
    "torch": ("training, recording and evaluating models", "nothing can be trained or distilled"),
}
_CONTENT = {
    "huggingface-hub": ("fetching pretrained models", "models must be local, or in a package"),
    "onnxscript": ("exporting models to ONNX", "text is encoded in torch, which is slower"),
    "peft": ("fine-tuning text encoders", "they are used as they come"),
    "pillow": ("images of items", "items aren't known by their images"),
    "soundfile": ("sound of items", "items aren't known by their sound"),
    "transformers": ("encoders of text, images and sound", "items are known by vectors and attributes only"),
}
_EXTRAS = {"data": _DATA, "serve": _SERVE, "train": _TRAIN, "content": _CONTENT}


@dataclass(frozen=True)
class Check:
    """One thing that DistilRec needs or can use.

    found: its version or what it is, None where it is missing. needed_for, without: what it serves, and what
    is lost without it. install: the line that brings it, empty where none does.
    """

    name: str
    found: str | None
    needed_for: str
    without: str
    install: str


def examine() -> list[Check]:
    """Look at Python, packages, the machine and the data folders; nothing is written.

    Of packages only the metadata is read, but for torch, which is imported: whether it works and sees a GPU
    can't be told otherwise.
    """
    checks = [_python(), *_packages(), _torch(), _processor(), _memory()]
    return [*checks, *_data_home(), *_named_sets()] if all(map(importlib.util.find_spec, _DATA)) else checks


def _python() -> Check:
    return Check("Python", platform.python_version(), "everything", _CORE, "apt-get install python3.11")


def _packages() -> list[Check]:
    """Each requirement of the core and of the extras, as our own metadata name it."""
    try:
        requirements = importlib.metadata.requires("distilrec") or []
    except importlib.metadata.PackageNotFoundError:
        without = "its requirements aren't known, and the command `distilrec` is missing"
        return [Check("distilrec", None, "everything", without, "pip install 'distilrec[train]'")]
    return [check for text in requirements if (check := _package(text)) is not None]


def _package(requirement: str) -> Check | None:
    """Such as `torch>=2.4; extra == 'train'`; None for requirements of other extras, and of extras within extras."""
    needed, _, marker = (part.strip() for part in requirement.partition(";"))
    name = re.split(r"[^\w.-]", needed, maxsplit=1)[0]
    if marker == "":
        return Check(needed, _version(name), "the core", _CORE, f"pip install '{needed}'")
    extra = re.search(r"extra\s*==\s*['\"](\w+)['\"]$", marker)
    known = _EXTRAS.get(extra[1], {}) if extra is not None else {}
    if extra is None or name.lower() not in known:  # of another extra, which this one holds
        return None
    needed_for, without = known[name.lower()]
    return Check(needed, _version(name), needed_for, without, f"pip install 'distilrec[{extra[1]}]'")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _torch() -> Check:
    """Which build of torch there is, and what it can compute on."""
    needed_for = "training, which `distilrec run` does on the CPU; a GPU could not be tried yet"
    without = "training on the CPU is many times slower for large teachers"
    install = "pip install torch, with the --index-url that pytorch.org names for your GPU"
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library of it is missing
        return Check("PyTorch's device", None, needed_for, f"torch can't be imported: {error}", install)
    if torch.cuda.is_available():
        found = f"GPU: {torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"
    elif torch.version.cuda:
        found = f"CPU, though this build is for CUDA {torch.version.cuda}: no GPU was found"
    else:
        found = "CPU, a build without CUDA"
    speed = f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
    return Check("PyTorch's device", f"{found} ({speed})", needed_for, without, install)


def _processor() -> Check:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = f"{platform.machine()}, {cores} cores for this process"
    return Check("Processor", found, "running stages beside each other", "stages run one by one", "")


def _memory() -> Check:
    """All memory, and what is free of it where Linux says so."""
    found = None
    if hasattr(os, "sysconf"):
        found = f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"
    about = Path("/proc/meminfo")
    text = about.read_text(encoding="ascii") if about.exists() else ""
    free = re.search(r"MemAvailable:\s+(\d+) kB", text)
    if free is not None:
        found = f"{found}, {int(free[1]) / 2**20:.1f} GiB of it free"
    needed_for = "logs, and the vectors of all users and items"
    return Check("Memory", found, needed_for, "how much there is isn't known", "")


def _data_home() -> list[Check]:
    """The folder into which named sets are fetched, and the disk under it."""
    from distilrec.data.named import fetch_home

    home = fetch_home()
    nearest = next(place for place in (home, *home.parents) if place.exists())
    place = Check(
        "Data folder",
        str(home) if os.access(nearest, os.W_OK) else None,
        "keeping named data sets",
        f"{home} can't be written, so named sets can't be fetched",
        "export DISTILREC_DATA=FOLDER, one that you may write",
    )
    free = f"{shutil.disk_usage(nearest).free / 1e9:.1f} GB free"
    disk = Check("Disk of the data folder", free, "keeping named data sets", "they can't be fetched", "")
    return [*_own_home(), place, disk]


def _own_home() -> list[Check]:
    """DISTILREC_DATA, where it is set."""
    given = os.environ.get("DISTILREC_DATA")
    if not given:
        return []
    found = given if Path(given).is_dir() else None
    without = f"{given} isn't there, so nothing is found in it; the first named set that is fetched makes it"
    return [Check("DISTILREC_DATA", found, "data sets of your own, by name", without, f"mkdir -p {given}")]


def _named_sets() -> list[Check]:
    from distilrec.data import NAMED_SETS
    from distilrec.data.named import data_homes

    without = "it is fetched when it is first used, which needs the network once"
    checks = []
    for name in NAMED_SETS:
        folders = [home / name for home in data_homes()]
        cached = next((str(path) for path in folders if (path / "interactions.parquet").is_file()), None)
        fetch = f"distilrec data fetch {name}"
        checks.append(Check(f"Data set {name}", cached, f"recipes with `source: {name}`", without, fetch))
    return checks
