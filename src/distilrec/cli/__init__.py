"""The command line: parse, call, print. Results go to stdout, progress and errors to stderr."""

from __future__ import annotations

import sys

from distilrec.cli.app import app
from distilrec.cli.output import fail
from distilrec.errors import DistilRecError

__all__ = ["main"]


def main() -> None:
    """Run the command line; an expected error is one sentence and exit code 1."""
    from distilrec.cli import bench, data, run, tools  # noqa: F401  each registers its commands

    try:
        app()
    except DistilRecError as error:
        sys.exit(fail(str(error)))
    except KeyboardInterrupt:
        print("Interrupted; the same command goes on where it stopped.", file=sys.stderr)  # noqa: T201
        sys.exit(130)
