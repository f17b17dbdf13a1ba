"""Printing: tables for people, JSON for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

__all__ = ["fail", "show", "show_table"]


def fail(message: str) -> int:
    """Print an error, as JSON on stdout where --json was given, and return the exit code."""
    if "--json" in sys.argv:
        print(json.dumps({"error": message}))  # noqa: T201
    else:
        Console(stderr=True, soft_wrap=True).print(f"Error: {message}", style="red", markup=False, highlight=False)
    return 1


def show(content: Mapping[str, Any], as_json: bool) -> None:
    """Print named values, one per line."""
    if as_json:
        print(json.dumps(content, default=str, ensure_ascii=False))  # noqa: T201
        return
    console = Console(soft_wrap=True, highlight=False)
    width = max((len(key) for key in content), default=0)
    for key, value in content.items():
        if isinstance(value, list | tuple) and value and all(isinstance(entry, str) for entry in value):
            value = "\n".join(value).replace("\n", "\n" + " " * (width + 2))
        console.print(f"{key.replace('_', ' '):<{width}}  {value}", markup=False)


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table on stdout."""
    table = Table(title=title, title_justify="left")
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    Console().print(table)
