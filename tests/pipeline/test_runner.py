"""How tasks are run: with how many threads, and what is shown of them."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from distilrec.data import DataConfig
from distilrec.errors import DataError, DistilRecError
from distilrec.pipeline.runner import run_tasks, threads_per_process
from distilrec.pipeline.stages import Stage, Store
from distilrec.pipeline.task import Context, Task


class Shown:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def begin(self, to_do: int, done: int) -> None: ...

    def step(self, stage: str, done: int, of: int, text: str) -> None:
        self.texts.append(text)

    def end(self, stage: str, seconds: float) -> None: ...


class CountThreads(Task):
    """Says how many threads it has, and how many NumPy and SciPy were told to take."""

    def execute(self, context: Context, on_progress: Callable[[int, int, str], None]) -> Mapping[str, Any]:
        return {"threads": [torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")]}


def run(task: Task, folder: Path, jobs: int = 1) -> tuple[dict[str, Any], Shown]:
    context, shown = Context(Store(folder), DataConfig(source="none")), Shown()
    run_tasks([task], context, jobs=jobs, progress=shown)
    return context.store.result(task.stage), shown


@pytest.mark.parametrize(("given", "threads"), [(None, [1, "1"]), ("3", [3, "3"])])
def test_threads_hang_on_the_environment_alone(
    given: str | None, threads: list[int | str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sums in another order have other last bits, so results would depend on --jobs and on the machine."""
    monkeypatch.setattr("distilrec.pipeline.runner.available_cores", lambda: 4)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if given is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert run(CountThreads(Stage("count", {})), tmp_path)[0]["threads"] == threads
    assert os.environ.get("OMP_NUM_THREADS") == given


@pytest.mark.parametrize("given", ["0", "-1", "two", "4,2"])
def test_a_number_of_threads_that_is_none_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    with pytest.raises(DistilRecError, match=r"OMP_NUM_THREADS is '.*', expected a number of threads"):
        threads_per_process()


class StopEarly(Task):
    """Tells more than is shown, and ends before it said it would."""

    def execute(self, context: Context, on_progress: Callable[[int, int, str], None]) -> Mapping[str, Any]:
        for epoch in range(1, 8):
            on_progress(epoch, 100, f"epoch {epoch}")
        return {}


def test_the_last_that_is_shown_of_a_stage_is_how_it_ended(tmp_path: Path) -> None:
    """Messages that follow each other at once are dropped, and the last of them is what stays on the screen."""
    assert run(StopEarly(Stage("stop", {})), tmp_path)[1].texts == ["epoch 1", "epoch 7"]


class FillDisk(Task):
    """Fails as where the disk is full."""

    def execute(self, context: Context, on_progress: Callable[[int, int, str], None]) -> Mapping[str, Any]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_one_sentence_that_names_the_stage(tmp_path: Path) -> None:
    with pytest.raises(DistilRecError, match=r"stages/fill-.*No space left.*what is finished is kept$"):
        run(FillDisk(Stage("fill", {})), tmp_path)


SCRIPT = """
import distilrec

distilrec.run(distilrec.Recipe.model_validate({
    "data": {"source": "log.csv"},
    "teacher": [{"name": "ease", "model": {"model": "ease"}}],
    "student": {"model": {"model": "matrix_factorization", "embedding_size": 2}},
}), out="run", jobs=1)
"""


def test_a_script_without_a_guard_is_told_of_it(tmp_path: Path) -> None:
    """Its processes would run it once more, and it would read that another run is under way, and EOFError."""
    rows = [f"u{user},i{(user + n) % 7},{n}" for user in range(20) for n in range(5)]
    (tmp_path / "log.csv").write_text("\n".join(["user,item,time", *rows]), encoding="utf-8")
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    command = [sys.executable, "script.py"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 1
    first, last = ended.stderr.splitlines()[0], ended.stderr.splitlines()[-1]
    assert first.startswith("distilrec: each process imports your script anew")
    assert last.startswith("distilrec.errors.DistilRecError: A process of the run ended as it began")
    assert last.endswith('`if __name__ == "__main__":`')
    assert ended.stderr.count("Traceback") == 1


class CountInteractions(Task):
    """Says how many there are, in a process of its own."""

    def execute(self, context: Context, on_progress: Callable[[int, int, str], None]) -> Mapping[str, Any]:
        return {"interactions": len(context.prepared.dataset.interactions)}


def test_data_that_change_under_way_end_the_run(tmp_path: Path) -> None:
    """One process would train on what another tests, and the report tell of neither."""
    log = tmp_path / "log.csv"
    log.write_text("user,item\n" + "".join(f"{n // 3},{n % 5}\n" for n in range(30)), encoding="utf-8")
    context = Context(Store(tmp_path / "run"), DataConfig(source=str(log), split={"kind": "random"}))
    assert len(context.prepared.dataset.interactions) == 30
    first, second = (CountInteractions(Stage(name, {})) for name in ("first", "second"))
    run_tasks([first], context, jobs=1, progress=Shown())
    assert context.store.result(first.stage)["interactions"] == 30
    with log.open("a", encoding="utf-8") as file:
        file.write("9,9\n")
    with pytest.raises(DataError, match="changed while the run was under way"):
        run_tasks([second], context, jobs=1, progress=Shown())
    assert not context.store.done(second.stage)
