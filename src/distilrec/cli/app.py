"""The application that the commands register with."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["Json", "app"]

app = typer.Typer(
    name="distilrec",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Distil a large recommender into a small one, and measure honestly what was kept.\n\n"
    "Start with `distilrec init FILE` for your own interaction log, or with "
    "`distilrec run recipes/quickstart.yaml --out runs/quickstart`.",
)

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout, for machines.")]
