"""How a run goes on, live on a terminal, in plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

__all__ = ["Display"]

PLAIN_SECONDS = 15.0


class Display:
    """Shows a run on stderr: stages done so far, and for each running one its epoch, loss and validation quality."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn(),
                   TextColumn("[dim]{task.fields[text]}"))  # fmt: skip
        self._live = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._rows: dict[str, TaskID] = {}
        self._said: dict[str, float] = {}
        self._texts: dict[str, str] = {}
        self._all: TaskID | None = None
        self._count, self._of = 0, 0

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def begin(self, to_do: int, done: int) -> None:
        """Show how much there is to do; of a search and the run after it, each counts for itself."""
        self._count, self._of = 0, to_do
        if done:
            self._console.print(f"{done} stages are done already, {to_do} to run", style="dim")
        if self._all is not None:
            self._live.remove_task(self._all)
        self._all = self._live.add_task("all stages", total=to_do, text="")

    def step(self, stage: str, done: int, of: int, text: str) -> None:
        """Show a running stage."""
        self._texts[stage] = text
        if stage not in self._rows:
            self._rows[stage] = self._live.add_task(stage, total=of, text="")
        self._live.update(self._rows[stage], completed=done, total=of, text=text)
        if self._live.disable and time.monotonic() - self._said.setdefault(stage, time.monotonic()) > PLAIN_SECONDS:
            self._said[stage] = time.monotonic()
            self._console.print(f"  {stage}: {done} of at most {of}, {text}", style="dim", highlight=False)

    def end(self, stage: str, seconds: float) -> None:
        """Take a finished stage off the display."""
        self._count += 1
        if stage in self._rows:
            self._live.remove_task(self._rows.pop(stage))
        if self._all is not None:
            self._live.advance(self._all)
        text = self._texts.pop(stage, "")
        text = text if any(map(str.isdigit, text)) else ""  # what was counted, which needs no line once it is done
        self._console.print(
            f"[{self._count}/{self._of}] {stage} in {seconds:.1f} s  {text}", markup=False, highlight=False, style="dim"
        )
