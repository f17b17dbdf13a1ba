"""Printing: tables for people, JSON for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

__all__ = ["fail", "fitting", "show", "show_table"]


def fail(message: str) -> int:
    """Print an error, as JSON on stdout where --json was given, and return the exit code."""
    if "--json" in sys.argv:
        print(json.dumps({"error": message}))  # noqa: T201
    else:
        _console(stderr=True, soft_wrap=True).print(f"Error: {message}", style="red")
    return 1


def show(content: Mapping[str, Any], as_json: bool) -> None:
    """Print named values, one per line."""
    if as_json:
        print(json.dumps(content, default=str, ensure_ascii=False))  # noqa: T201
        return
    console = _console(soft_wrap=True)
    width = max((len(key) for key in content), default=0)
    for key, value in content.items():
        if isinstance(value, list | tuple) and value and all(isinstance(entry, str) for entry in value):
            value = "\n".join(value).replace("\n", "\n" + " " * (width + 2))
        console.print(f"{key.replace('_', ' '):<{width}}  {value}")


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table on stdout."""
    table = Table(title=title, title_justify="left")
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    _console().print(table)


def fitting(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """How many columns, from the first, fit beside each other without a folded cell; at least one."""
    width = 1
    for place, texts in enumerate(zip(columns, *rows, strict=True)):
        width += max(map(cell_len, texts)) + 3
        if width > _console().width:
            return max(1, place)
    return len(columns)


def _console(*, stderr: bool = False, soft_wrap: bool = False) -> Console:
    """Prints text as it is: paths, columns and titles may hold [brackets] and :colons:."""
    return Console(stderr=stderr, soft_wrap=soft_wrap, markup=False, emoji=False, highlight=False)
