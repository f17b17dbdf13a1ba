"""Where a pretrained model lies: in a folder, in an installed package, or on a hub."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from distilrec.errors import FetchError, MissingExtraError, ModelError, require

__all__ = ["fetch", "find_model"]

PACKAGE = "package:"
NOT_READ = ["*.h5", "*.msgpack", "*.onnx", "*.ot", "*.tflite"]  # the same weights in forms that we don't read


def find_model(name: str) -> Path:
    """The folder or file of a pretrained model.

    name: a local path; `package:NAME/sub/path`, within an installed Python package, which isn't imported; or a name on
    the Hugging Face hub, whose files are fetched once. Raises MissingExtraError where a package isn't installed,
    ModelError where it lacks the path, FetchError where the hub can't be reached.

    >>> find_model("package:json/decoder.py").name
    'decoder.py'
    """
    if name.startswith(PACKAGE):
        return _in_package(name)
    if Path(name).exists():
        return Path(name)
    if name.count("/") > 1 or name.startswith((".", "~", "/")):
        raise ModelError(f"{name} doesn't exist; name a folder or file, package:NAME/path, or a model on the hub")
    return fetch(name, ignore_patterns=NOT_READ)


def _in_package(name: str) -> Path:
    package, _, inner = name.removeprefix(PACKAGE).partition("/")
    found = importlib.util.find_spec(package) if package.isidentifier() else None  # "a.b" would import a
    if found is None:
        raise MissingExtraError(
            f"{name} lies in the package {package!r}, which isn't installed; install it with: "
            f"pip install {package.replace('_', '-')}"
        )
    for root in map(Path, found.submodule_search_locations or ()):
        path = (root / inner).resolve()
        if path.is_relative_to(root.resolve()) and path.exists():
            return path
    raise ModelError(f"{name}: the package {package!r} holds no {inner!r}; correct the path within it")


def fetch(name: str, **options: Any) -> Path:
    """The folder of what OWNER/NAME holds on the Hugging Face hub, fetched once; options: of `snapshot_download`."""
    require("huggingface_hub", "content", f"fetching {name}")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, **options))
    except Exception as error:  # those of the hub and of the network share no other base
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FetchError(
            f"{name} is no file or folder here, and could not be fetched ({reason}); download it once on a machine "
            "with a network, and give its folder"
        ) from error
