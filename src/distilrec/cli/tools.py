"""Commands about the installation."""

from __future__ import annotations

import dataclasses
import json

from distilrec.cli.app import Json, app
from distilrec.cli.output import show_table


@app.command()
def doctor(as_json: Json = False) -> None:
    """Say what is installed, what is missing, and what that costs."""
    from distilrec.doctor import examine

    checks = examine()
    if as_json:
        print(json.dumps([dataclasses.asdict(check) for check in checks]))  # noqa: T201
        return
    rows = [
        [
            check.name,
            check.found or "missing",
            check.needed_for,
            "" if check.found else f"{check.without}; {check.install}",
        ]
        for check in checks
    ]
    show_table("DistilRec on this machine", ["what", "found", "needed for", "without it"], rows)
