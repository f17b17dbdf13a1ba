"""One process at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from distilrec.errors import DistilRecError

__all__ = ["alone"]


@contextmanager
def alone(lock: Path, busy: DistilRecError) -> Iterator[None]:
    """Hold the lock file `lock`; raise `busy` where another process holds it.

    The lock is the operating system's, and goes with the process that holds it. Who holds it may ask for it again.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    held = filelock.FileLock(lock, is_singleton=True)
    try:
        held.acquire(timeout=0)
    except filelock.Timeout as error:
        raise busy from error
    try:
        yield
    finally:
        held.release()
