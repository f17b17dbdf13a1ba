"""Files for LiteRT and ExecuTorch, converted in environments of their own: their pins and ours don't go together."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from distilrec.encoders import cache_home
from distilrec.errors import FetchError, ModelError
from distilrec.export.gate import Answer
from distilrec.export.whole import Whole
from distilrec.locking import alone
from distilrec.models import SequenceModel

__all__ = ["MOBILE", "Mobile"]

STEP = 64  # lengths of histories are multiples of it
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Mobile:
    """A runtime for phones. package: of PyPI, pinned. script: in converters/."""

    name: str
    package: str
    script: str

    def write(self, whole: Whole, longest: int, path: Path) -> int:
        """Write the file, and return the length of the one history that it takes: shapes are fixed.

        longest: of the histories that are to be asked. Raises FetchError where the environment can't be made,
        ModelError where the student can't be converted.
        """
        reads = whole.model.history_length if isinstance(whole.model, SequenceModel) else 1
        length = -(-max(longest, reads) // STEP) * STEP
        history = torch.full((1, length), -1)
        history[0, 0] = 0
        inputs = (history,) if whole.users is None else (torch.zeros(1, dtype=torch.int64), history)
        source = path.with_name(f"{path.name}.pt2")
        with torch.no_grad():
            torch.export.save(torch.export.export(whole.eval(), inputs), source)
        try:
            self._run("convert", str(source), str(path))
        finally:
            source.unlink()
        return length

    @contextlib.contextmanager
    def answering(self, whole: Whole, path: Path, length: int) -> Iterator[Answer]:
        """The file, run by its own runtime in a process of its own."""
        command = [str(self._python()), str(_SCRIPTS / self.script), "serve", str(path)]
        complaints = tempfile.TemporaryFile()  # noqa: SIM115, closed below
        worker = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, env=_environment()
        )
        assert worker.stdin is not None
        assert worker.stdout is not None
        told, said = worker.stdin, worker.stdout

        def ask(arrays: list[NDArray[np.int64]]) -> NDArray[np.int64]:
            with contextlib.suppress(BrokenPipeError):
                told.write(_number(len(arrays)) + b"".join(_number(len(each)) + each.tobytes() for each in arrays))
                told.flush()
            n = int.from_bytes(said.read(8), sys.byteorder)
            items = said.read(8 * n)
            if n == 0 or len(items) < 8 * n:
                worker.wait()
                complaints.seek(0)
                why = complaints.read().decode(errors="replace").strip()[-1000:]
                raise ModelError(f"{self.name} can't run {path.name}: {why}")
            return np.frombuffer(items, np.int64)

        def answer(users: NDArray[np.int64], histories: NDArray[np.int64]) -> NDArray[np.integer]:
            lists = []
            for user, row in zip(users, histories, strict=True):
                items = row[row >= 0][-length:]
                padded: NDArray[np.int64] = np.full(length, -1, np.int64)
                padded[: len(items)] = items
                lists.append(ask([padded] if whole.users is None else [np.array([user], np.int64), padded]))
            return np.stack(lists)

        try:
            yield answer
        finally:
            with contextlib.suppress(BrokenPipeError):
                told.close()
            worker.wait()
            said.close()
            complaints.close()

    def folder(self) -> Path:
        """Of the environment; `ready` lies in it once it is whole."""
        version = torch.__version__.partition("+")[0]
        return cache_home() / "environments" / f"{self.package.replace('==', '-')}-torch-{version}"

    def _run(self, *arguments: str) -> None:
        command = [str(self._python()), str(_SCRIPTS / self.script), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=_environment(), check=False)
        if done.returncode:
            raise ModelError(f"{self.name} can't take this student: {done.stderr.strip()[-1000:]}")

    def _python(self) -> Path:
        """That of the environment, which is made once."""
        version, folder = torch.__version__.partition("+")[0], self.folder()
        python, ready = folder / ("Scripts" if os.name == "nt" else "bin") / "python", folder / "ready"
        folder.parent.mkdir(parents=True, exist_ok=True)
        if ready.exists():
            return python
        with alone(
            folder.with_name(f"{folder.name}.lock"), FetchError(f"{folder}: another process makes it; try again later")
        ):
            if ready.exists():
                return python
            _logger.warning("installing %s into %s, once; it takes up to two gigabytes", self.package, folder)
            try:
                venv.create(folder, clear=True, with_pip=True)
            except (OSError, subprocess.CalledProcessError) as error:
                raise FetchError(
                    f"{folder} can't be made an environment: {error}; python3-venv may be missing"
                ) from error
            command = [str(python), "-m", "pip", "install", "--quiet", f"torch=={version}", self.package]
            done = subprocess.run(command, capture_output=True, text=True, env=_environment(), check=False)
            if done.returncode:
                raise FetchError(
                    f"{self.package} couldn't be installed beside torch {version}; where torch comes from another "
                    f"index, name it in PIP_EXTRA_INDEX_URL: {done.stderr.strip()[-1000:]}"
                )
            ready.touch()
        return python


_SCRIPTS = Path(__file__).parent / "converters"
MOBILE = {
    "litert": Mobile("LiteRT", "litert-torch==0.10.0", "to_litert.py"),
    "executorch": Mobile("ExecuTorch", "executorch==1.5.1", "to_executorch.py"),
}


def _environment() -> dict[str, str]:
    """Ours, but for what would lead Python to our packages."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


def _number(n: int) -> bytes:
    return n.to_bytes(8, sys.byteorder)
