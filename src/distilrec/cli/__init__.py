"""The command line: parse, call, print. Results go to stdout, progress and errors to stderr."""

from __future__ import annotations

import sys

from safetensors import SafetensorError

from distilrec.cli.app import app
from distilrec.cli.output import fail
from distilrec.errors import DistilRecError

__all__ = ["main"]

INTERRUPTED = 130


def main() -> None:
    """Run the command line; an expected error is one sentence and exit code 1, a command that can't be read is 2."""
    from distilrec.cli import bench, data, run, ship, tools  # noqa: F401  each registers its commands

    try:
        sys.exit(app(standalone_mode="--json" not in sys.argv))
    except SystemExit as end:
        if end.code == INTERRUPTED:
            print("Interrupted; the same command goes on where it stopped.", file=sys.stderr)  # noqa: T201
        raise
    except DistilRecError as error:
        sys.exit(fail(str(error)))
    except (OSError, SafetensorError) as error:
        what = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
        sys.exit(fail(f"{what}; see that the place is there, has room and may be written, then try again"))
    except Exception as error:
        # What typer raises at a command that it can't read, and prints itself where there is no --json.
        if not hasattr(error, "format_message"):
            raise
        fail(error.format_message())
        sys.exit(2)
