"""report.html: the whole report in one file that opens anywhere and loads nothing."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from distilrec.errors import require
from distilrec.report import numbers, pictures, view
from distilrec.report.pareto import pareto_plot
from distilrec.report.schema import Report
from distilrec.report.verdict import reservations, verdict

if TYPE_CHECKING:
    import jinja2

__all__ = ["environment", "render", "write", "write_text"]

ROLE_NAMES = {
    "teacher": "teacher",
    "student_alone": "student alone",
    "distilled_student": "distilled student",
    "control": "control",
}


def render(report: Report, thumbnails: Mapping[str, str] | None = None) -> str:
    """The page as text. All of the report's text is escaped, and a content policy forbids every load.

    thumbnails: by item id, pictures as data URIs, shown in the lists of example users.
    Raises MissingExtraError without Jinja2.
    """
    script = resources.files(__package__).joinpath("templates/tooltip.js").read_text(encoding="utf-8")
    return (
        environment()
        .get_template("report.html")
        .render(
            report=report,
            thumbnails=thumbnails or {},
            verdict=verdict(report),
            reservations=reservations(report),
            arms=view.in_order(report.arms),
            view=view,
            pictures=pictures,
            pareto=pareto_plot(report.pareto, report.metric),
            recipe=yaml.safe_dump(report.recipe, sort_keys=False, allow_unicode=True, width=100),
            roles={arm.name: arm.role for arm in report.arms},
            role_names=ROLE_NAMES,
            script=script,
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def write(report: Report, folder: str | os.PathLike[str], thumbnails: Mapping[str, str] | None = None) -> None:
    """Write report.json and report.html into `folder`, which is made where it is missing.

    thumbnails: as in `render`. Both are rendered before either is written, and each appears whole or not at all.
    """
    pages = {"report.json": report.to_json(), "report.html": render(report, thumbnails)}
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        write_text(place / name, text)


def write_text(path: Path, text: str) -> None:
    """Write a file so that it is there in full or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8", newline="\n")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _together(text: str) -> str:
    """Keep a number and its sign on one line."""
    for mark in (" %", "p < ", "p = "):
        text = text.replace(mark, mark.replace(" ", "\u00a0"))
    return text


def _breakable(name: str) -> str:
    """Let the names of methods break where their parts meet; the break is a character without width."""
    return name.replace("+", "+\u200b").replace("_", "_\u200b")


def environment() -> jinja2.Environment:
    """Jinja2 for this folder's templates, which escapes all text. Raises MissingExtraError without it."""
    require("jinja2", "train", "the HTML report")
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {name: getattr(numbers, name) for name in numbers.__all__}
    made.filters |= {"together": _together, "breakable": _breakable}
    return made
