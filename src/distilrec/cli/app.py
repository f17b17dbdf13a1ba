"""The application that the commands register with."""

from __future__ import annotations

from typing import Annotated

import typer

from distilrec import __version__

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


def _version(wanted: bool) -> None:
    if wanted:
        print(f"distilrec {__version__}")  # noqa: T201
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version, and end.")
    ] = False,
) -> None:
    """Options of the command line as a whole."""
