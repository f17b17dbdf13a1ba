"""What one teacher over several domains brought to each: domains.json, and a page that leads to their reports."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import ConfigDict, Field

from distilrec.report.axes import Span, spans
from distilrec.report.html import environment, write_text
from distilrec.report.numbers import label, p_value, percent
from distilrec.report.parts import Comparison, Count, Estimate, Interval, Part, Role, Share
from distilrec.report.schema import Report

__all__ = ["Across", "Domain", "Relative", "write_across"]

ALPHA = 0.05
Transfer = Literal["helped", "harmed", "not shown"]


class Relative(Part):
    """A difference as a share of what it is compared to, whose own mean counts as known; p corrected as in the report.

    The null hypothesis is that there is none.
    """

    share: float
    ci95: Interval
    p_value: Share
    p_holm: Share

    @classmethod
    def of(cls, test: Comparison, base: float) -> Self:
        """From a test of something against what has the mean `base`, above 0."""
        low, high = test.ci95
        return cls(
            share=test.difference / base, ci95=(low / base, high / base), p_value=test.p_value, p_holm=test.p_holm
        )

    @property
    def verdict(self) -> Transfer:
        """Whether it is shown to be above or below 0."""
        if self.p_holm >= ALPHA:
            return "not shown"
        return "helped" if self.share > 0 else "harmed"


class Named(Part):
    """An arm, its quality, and its size."""

    name: str
    role: Role
    quality: Estimate
    parameters: Count
    bytes: Count


class Domain(Part):
    """One domain: its data, its arms, and what the others brought it."""

    name: str
    users: Count
    items: Count
    interactions: Count
    arms: list[Named]
    over_alone: Relative | None
    """The distilled student over the same student alone; null where that has 0."""
    over_own: Relative | None
    """The distilled student over the same one taught by a teacher of this domain alone: what other domains brought."""

    @classmethod
    def of(cls, name: str, report: Report, shown: tuple[str, ...], by_own: str) -> Self:
        """From a domain's report. shown: names of its arms; by_own: that of the student with this domain's teacher."""
        arms = {arm.name: arm for arm in report.arms}
        quality = {each: arms[each].metrics[report.metric] for each in shown}

        def over(other: str) -> Relative | None:
            test = report.between(report.arm("distilled_student").name, other)
            base = quality[other].mean
            return None if test is None or base <= 0 else Relative.of(test, base)

        return cls(
            name=name,
            users=report.data.users,
            items=report.data.items,
            interactions=report.data.interactions,
            arms=[
                Named(
                    name=each,
                    role=arms[each].role,
                    quality=Estimate(mean=quality[each].mean, ci95=quality[each].ci95),
                    parameters=arms[each].parameters,
                    bytes=arms[each].bytes,
                )
                for each in shown
            ],
            over_alone=over(report.arm("student_alone").name),
            over_own=over(by_own),
        )

    @property
    def sentence(self) -> str:
        """What the transfer did, in words."""
        if self.over_own is None:
            return f"{self.name}: its own teacher's student finds nothing, so that nothing can be said of the transfer."
        said = {
            "helped": "other domains helped",
            "harmed": "negative transfer: other domains did harm, so take the student of this domain's own teacher",
            "not shown": "other domains are not shown to help or to harm",
        }[self.over_own.verdict]
        low, high = (percent(bound, sign=True) for bound in self.over_own.ci95)
        share = percent(self.over_own.share, sign=True)
        return f"{self.name}: {said} ({share} [{low}, {high}], {p_value(self.over_own.p_holm)})."


class Across(Part):
    """The results of one teacher over several domains."""

    model_config = ConfigDict(**Part.model_config, populate_by_name=True)

    schema_version: Literal[1] = Field(default=1, alias="schema")
    name: str
    metric: str
    users: Count
    """Of all domains, each counted once."""
    domains: list[Domain]

    def to_json(self) -> str:
        """The text of domains.json."""
        return self.model_dump_json(by_alias=True, indent=2) + "\n"


def write_across(found: Across, folder: str | os.PathLike[str]) -> None:
    """Write domains.json and report.html into `folder`; each appears whole or not at all."""
    place = Path(folder)
    page = environment().get_template("across.html").render(
        found=found, metric=label(found.metric), qualities=_qualities(found), changes=_changes(found)
    )  # fmt: skip
    write_text(place / "domains.json", found.to_json())
    write_text(place / "report.html", page)


def _qualities(found: Across) -> Mapping[str, list[Span]]:
    """By domain: the intervals of its arms, on one scale for each domain."""
    return {each.name: spans([(arm.quality.mean, arm.quality.ci95) for arm in each.arms]) for each in found.domains}


def _changes(found: Across) -> tuple[float, list[list[Span | None]]]:
    """Where no change lies, and by domain the two changes, all on one scale."""
    told = [[each.over_alone, each.over_own] for each in found.domains]
    rows = [(change.share, change.ci95) for pair in told for change in pair if change is not None]
    zero, *placed = spans([(0.0, None), *rows])
    left = iter(placed)
    return zero.mid, [[None if change is None else next(left) for change in pair] for pair in told]
