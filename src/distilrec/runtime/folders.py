"""Folders that are written whole, and put in the place of earlier ones."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distilrec.errors import ArtefactError

__all__ = ["replacing"]


@contextmanager
def replacing(place: Path, mark: str) -> Iterator[Path]:
    """A folder to write into, which takes the place of `place` when the block ends without an error.

    mark: a file that tells an earlier one from something else: a folder that holds other files is never replaced.
    Raises ArtefactError where there is such a folder.
    """
    if place.exists() and not (place / mark).is_file() and not (place.is_dir() and not any(place.iterdir())):
        raise ArtefactError(f"{place} holds something else, it has no {mark}: name another folder, or delete it")
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name}-") as own:
        new, old = Path(own) / "new", Path(own) / "old"
        new.mkdir()
        yield new
        for path in new.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)  # safetensors writes for its owner alone
        new.chmod(0o755)
        if not place.exists():
            os.replace(new, place)
            return
        os.replace(place, old)
        try:
            os.replace(new, place)
        except OSError:
            os.replace(old, place)
            raise
