"""The card of a bundle: README.md, as model hubs show it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from distilrec.data import NAMED_SETS
from distilrec.report import Report, reservations, verdict
from distilrec.report.numbers import count, interval, number, percent
from distilrec.report.parts import Arm, MainRole
from distilrec.runtime import ExportInfo, Lineage

__all__ = ["card", "with_exports"]

EXPORTS, END = "## Exports", "<!-- exports end -->"

MAIN: tuple[MainRole, ...] = ("teacher", "student_alone", "distilled_student")


def card(report: Report, lineage: Lineage, *, new_items: bool) -> str:
    """Markdown: what the student is, what it was measured to do, where it comes from, and what it isn't for.

    new_items: whether it takes items that it wasn't trained on, by their content.
    """
    student = report.arm("distilled_student")
    front = {
        "library_name": "distilrec",
        "tags": ["recommender-systems", "knowledge-distillation", student.model],
        "license": "unknown",
    }
    return "\n\n".join(
        [
            f"---\n{yaml.safe_dump(front, sort_keys=False).strip()}\n---",
            f"# {report.recipe.get('name') or 'A distilled recommender'}",
            f"A {student.model} with {count(student.parameters)} parameters in {count(student.bytes)} bytes"
            f"{_latency(student)}, distilled with DistilRec. It recommends among {count(report.data.items)} items.",
            _use(new_items),
            f"## What was measured\n\n{verdict(report)} {' '.join(reservations(report))}".strip(),
            _table(report),
            _origin(report, lineage),
            _limits(report, new_items),
        ]
    ) + "\n"  # fmt: skip


def _use(new_items: bool) -> str:
    lines = [
        "import distilrec",
        "",
        'student = distilrec.from_pretrained("path/of/this/folder")',
        "student.recommend(users=[USER], k=10)  # or histories=[[ITEM, ITEM]], where it reads them",
    ]
    if new_items:
        lines.append("student = student.add_items(frame)  # recommended at once, by what they are")
    return "\n".join(
        ["## Use", "", "`pip install 'distilrec[data,serve]'`, no torch; then", "", "```python", *lines, "```"]
    )


def _table(report: Report) -> str:
    others = [name for name in report.arm("teacher").metrics if " " not in name and name != report.metric]
    names = [report.metric, *others[:3]]
    rows = [f"| | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for arm in (report.arm(role) for role in MAIN):
        cells = [_estimate(arm, name) for name in names]
        rows.append(f"| {arm.name} ({arm.model}) | {' | '.join(cells)} |")
    return (
        "\n".join(rows)
        + "\n\nMeans over test queries with 95 % intervals, all items ranked, split: "
        + (f"{report.data.split}.")
    )


def _estimate(arm: Arm, name: str) -> str:
    found = arm.metrics.get(name)
    return "" if found is None else interval(found.mean, found.ci95)


def _latency(arm: Arm) -> str:
    return "" if arm.latency_ms is None else f", {number(arm.latency_ms.p50, 2)} ms per query in torch on one thread"


def _origin(report: Report, lineage: Lineage) -> str:
    told: dict[str, Any] = {
        "data": f"{report.data.name}, fingerprint {report.data.fingerprint}: {count(report.data.users)} users, "
        f"{count(report.data.items)} items, {count(report.data.interactions)} interactions",
        "teacher": f"{report.arm('teacher').model}, fingerprint {lineage.teacher}",
        "method": lineage.method,
        "lambda (alpha)": lineage.alpha,
        "seed": lineage.seed,
        "made": f"{report.environment.date}, with "
        + ", ".join(f"{name} {version}" for name, version in report.environment.versions.items()),
    }
    lines = [f"- {name}: {value}" for name, value in told.items() if value is not None]
    return "\n".join(["## Where it comes from", "", *lines, "", "The whole recipe stands in `bundle.json`."])


def _limits(report: Report, new_items: bool) -> str:
    found = [each.sentence for each in report.audit if each.severity == "warning"]
    lines = [
        "It ranks the items of one catalogue by what users of one log took; it is no judgement of an item's worth, and "
        "what was rarely taken is rarely shown.",
        "Measured offline, on interactions of the past; what it does to users who see it was not measured.",
        "New items are placed by their content." if new_items else "Items that came after training are unknown to it.",
        *(f"The audit of the data warns: {sentence}" for sentence in found),
    ]
    named = NAMED_SETS.get(report.data.name)
    licence = "The licence of the data isn't known to DistilRec" if named is None else f"The data are {named.licence}"
    licence += "; who shares this bundle shares what was learned from them."
    return "\n".join(["## Limits", "", *(f"- {line}" for line in lines), "", "## Licence", "", licence])


def with_exports(text: str, exports: Mapping[str, ExportInfo]) -> str:
    """A card with the table of exports, in the place of an earlier one."""
    lines = ["| | bytes | top 10 shared | NDCG@10 kept | p50 ms | p99 ms |", "|---|---|---|---|---|---|"]
    for name, info in exports.items():
        shared = f"{number(info.overlap, 3)} | {percent(info.quality)}"
        lines.append(
            f"| {name} | {count(info.bytes)} | {shared} | {number(info.p50_ms, 3)} | {number(info.p99_ms, 3)} |"
        )
    told = (
        "Each was compared with the student in PyTorch on held-out queries before it was written; milliseconds are of "
        "one query on the machine that exported it."
    )
    table = "\n".join([EXPORTS, "", *lines, "", told, "", END])
    head, found, rest = text.partition(EXPORTS)
    tail = rest.partition(END)[2].strip() if found else ""
    return "\n\n".join(part for part in (head.strip(), table, tail) if part) + "\n"
