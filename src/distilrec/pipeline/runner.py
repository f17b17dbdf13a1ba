"""Running the tasks of a plan: in order, in parallel where they don't depend on each other, each only once."""

from __future__ import annotations

import logging
import multiprocessing
import os
import queue
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.managers import SyncManager
from typing import Protocol

from distilrec.errors import DistilRecError
from distilrec.pipeline.stages import writing
from distilrec.pipeline.task import Context, Task

__all__ = ["Progress", "available_cores", "end_if_imported", "run_tasks", "threads_per_process"]

log = logging.getLogger(__name__)

Message = tuple[str, int, int, str]
THREADS = "OMP_NUM_THREADS"
GUARD = 'each process imports your script anew, so what the script does must stand under `if __name__ == "__main__":`'


class Progress(Protocol):
    """Whoever shows how a run goes on."""

    def begin(self, to_do: int, done: int) -> None:
        """Called before stages run, anew after a search: how many are to be run, and how many are there already."""

    def step(self, stage: str, done: int, of: int, text: str) -> None:
        """Called as a stage goes on."""

    def end(self, stage: str, seconds: float) -> None:
        """Called when a stage is done."""


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_per_process() -> int:
    """How many threads each stage computes with: as OMP_NUM_THREADS says, else one.

    Sums in another order differ in their last bits, so this hangs neither on `jobs` nor on the cores that are there.
    Raises DistilRecError where OMP_NUM_THREADS isn't a positive whole number.
    """
    given = os.environ.get(THREADS) or "1"
    if not given.isdecimal() or int(given) < 1:
        raise DistilRecError(f"{THREADS} is {given!r}, expected a number of threads, such as 1; set it so, or unset it")
    return int(given)


def end_if_imported() -> None:
    """End a process of the pool that would run the script it belongs to once more, as it imports it."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # so multiprocessing itself tells
        sys.exit(f"distilrec: {GUARD}")


def run_tasks(tasks: Sequence[Task], context: Context, *, jobs: int | None = None, progress: Progress) -> None:
    """Run all tasks that aren't done yet; `tasks` come after those that they depend on.

    jobs: processes at once, by default one per core; each has `threads_per_process()` threads. What has been finished
    stays finished when a task fails or the process is killed. Raises ArtefactError where another process runs tasks in
    the same folder, and where what is finished there no longer fits what it was made from.
    """
    for task in tasks:
        if context.store.done(task.stage):
            task.check(context)
    waiting = [task for task in tasks if not context.store.done(task.stage)]
    progress.begin(len(waiting), len(tasks) - len(waiting))
    if waiting:
        with context.store.alone():
            _run(waiting, {task.stage.key for task in tasks}, context, jobs or available_cores(), progress)


def _run(waiting: list[Task], run_at_all: set[str], context: Context, jobs: int, progress: Progress) -> None:
    finished = run_at_all - {task.stage.key for task in waiting}
    started: dict[str, float] = {}
    spawn, threads = multiprocessing.get_context("spawn"), threads_per_process()
    manager = SyncManager(ctx=spawn)
    try:
        manager.start(initializer=_end_with_parent)
    except EOFError:
        raise DistilRecError(
            f"A process of the run ended as it began, and said why above. Most often: {GUARD}"
        ) from None
    # NumPy and SciPy choose their threads as they are imported, which is before a process of the pool does anything.
    with manager, _inherited(THREADS, str(threads)):
        messages: queue.Queue[Message] = manager.Queue()
        with ProcessPoolExecutor(
            jobs,
            mp_context=spawn,
            initializer=_start,
            initargs=(context.for_others(), threads, messages),
        ) as pool:
            running: dict[Future[str], Task] = {}
            try:
                while waiting or running:
                    for task in [t for t in waiting if _ready(t, run_at_all, finished)][: jobs - len(running)]:
                        waiting.remove(task)
                        started[task.stage.key] = time.monotonic()
                        running[pool.submit(_execute, task)] = task
                    done, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
                    _drain(messages, progress)
                    for future in done:
                        task = running.pop(future)
                        finished.add(future.result())
                        progress.end(task.stage.name, time.monotonic() - started[task.stage.key])
            except BrokenProcessPool as error:
                names = ", ".join(task.stage.name for task in running.values())
                raise DistilRecError(
                    f"A process was killed from outside while these stages ran: {names}. Most often memory ran out: "
                    "try --jobs 1, or a smaller teacher; what is finished is kept"
                ) from error
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                for process in multiprocessing.active_children():
                    process.terminate()
                raise


@contextmanager
def _inherited(name: str, value: str) -> Iterator[None]:
    """Set an environment variable for the processes that are started meanwhile."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _ready(task: Task, run_at_all: set[str], finished: set[str]) -> bool:
    """Whether all stages that the task depends on, and that are run at all, are done."""
    return all(parent.key in finished or parent.key not in run_at_all for parent in task.stage.parents)


def _drain(messages: queue.Queue[Message], progress: Progress) -> None:
    while True:
        try:
            progress.step(*messages.get_nowait())
        except queue.Empty:
            return


_context: Context
_messages: queue.Queue[Message]


def _start(context: Context, threads: int, messages: queue.Queue[Message]) -> None:
    """Set up a process of the pool."""
    import torch

    global _context, _messages
    torch.set_num_threads(threads)
    _context, _messages = context, messages
    _end_with_parent()


def _end_with_parent() -> None:
    """Prevent a run that was killed from leaving processes that train on, and write, for hours."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _execute(task: Task) -> str:
    """Run one task in a process of the pool, and mark it as done."""
    begin = time.monotonic()
    shown = 0.0
    unsent: Message | None = None

    def on_progress(done: int, of: int, text: str) -> None:
        nonlocal shown, unsent
        unsent = (task.stage.name, done, of, text)
        if time.monotonic() - shown > 0.5:
            shown = time.monotonic()
            _messages.put(unsent)
            unsent = None

    with writing(_context.store.folder(task.stage)):
        result = task.execute(_context, on_progress)
        _context.store.finish(task.stage, {**result, "seconds": time.monotonic() - begin})
    if unsent is not None:
        _messages.put(unsent)  # how it ended, which its last line shows
    return task.stage.key
