"""What report.json holds: the results of one run, schema version 1."""

from __future__ import annotations

import json
from typing import Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from distilrec.errors import ArtefactError
from distilrec.report.parts import (
    Arm,
    Comparison,
    Compression,
    Curve,
    Data,
    Disagreement,
    Drift,
    Environment,
    Estimate,
    Example,
    Finding,
    Hybrid,
    MainRole,
    ParetoPoint,
    Part,
    Positive,
    Slice,
    Smallest,
    Tuning,
)

__all__ = ["Report", "json_schema"]


class Report(BaseModel):
    """The results of one run.

    >>> Report.from_json('{"schema": 2}')
    Traceback (most recent call last):
    distilrec.errors.ArtefactError: This is not a report of schema version 1: schema: Input should be 1 \
(and 8 more); write it again with: distilrec report RUN
    """

    model_config = ConfigDict(**Part.model_config, populate_by_name=True)

    schema_version: Literal[1] = Field(default=1, alias="schema")
    metric: str = "ndcg@10"
    """The metric that verdict, slices and curves speak of; higher is better."""
    recipe: dict[str, JsonValue]
    """The effective recipe."""
    data: Data
    teacher_weights: dict[str, float] = {}
    """By member: its weight in the ensemble, fitted on validation; empty for a teacher of one."""
    arms: list[Arm]
    comparisons: list[Comparison]
    gap_closed: dict[str, float | None]
    """(distilled - alone) / (teacher - alone); null unless teacher - alone is significant."""
    retention: dict[str, float | None]
    """distilled / teacher; null where the teacher has 0."""
    compression: Compression
    flops_per_query: dict[str, Positive] = {}
    """By arm: floating-point operations of scoring the test query whose history is of median length, a multiplication
    and an addition counting as two; 0 where the answer is looked up."""
    agreement: dict[str, dict[str, Estimate]] = {}
    """By arm, then by measure (overlap@10, rank_correlation, ...): how far it agrees with the teacher."""
    slices: list[Slice] = []
    pareto: list[ParetoPoint] = []
    curves: list[Curve] = []
    examples: list[Example] = []
    disagreements: list[Disagreement] = []
    audit: list[Finding] = []
    tuning: list[Tuning] = []
    tried: list[Tuning] = []
    """What `method: auto` chose among, best first; `arm` is then the name of a method."""
    smallest: Smallest | None = None
    """Null unless the smallest student within limits was asked for."""
    hybrid: Hybrid | None = None
    """Null unless the recipe asks for a hybrid."""
    teacher_blend: Hybrid | None = None
    """Null unless the teacher's members are weighed by how much is known of user and item."""
    drift: Drift | None = None
    """Null unless the run goes on from an earlier one."""
    environment: Environment

    @model_validator(mode="after")
    def _arms_are_complete(self) -> Self:
        names = [arm.name for arm in self.arms]
        if len(set(names)) < len(names):
            raise ValueError(f"arms need names of their own, and these are {names}")
        for role in get_args(MainRole):
            main = next((arm for arm in self.arms if arm.role == role), None)
            if main is None:
                raise ValueError(f"there is no arm with the role {role!r}")
            if self.metric not in main.metrics:
                raise ValueError(f"the arm {main.name!r} has no {self.metric!r}, the metric of this report")
        return self

    @model_validator(mode="after")
    def _names_are_arms(self) -> Self:
        named = {
            "comparisons": {name for test in self.comparisons for name in (test.a, test.b)},
            "flops_per_query": set(self.flops_per_query),
            "agreement": set(self.agreement),
            "slices": {name for cut in self.slices for group in cut.bins for name in group.values},
            "curves": {curve.arm for curve in self.curves},
            "tuning": {row.arm for row in self.tuning},
        }
        for part, names in named.items():
            if unknown := names - {arm.name for arm in self.arms}:
                raise ValueError(f"{part} names {sorted(unknown)}, which is not among the arms")
        return self

    def arm(self, role: MainRole) -> Arm:
        """The first arm of a role."""
        return next(arm for arm in self.arms if arm.role == role)

    @property
    def validation_metric(self) -> str:
        """What validation measured, by which students were stopped and chosen: the recipe's `training.metric`."""
        alone = self.recipe.get("alone")
        training = alone.get("training") if isinstance(alone, dict) else None
        return str(training.get("metric", self.metric)) if isinstance(training, dict) else self.metric

    def between(self, a: str, b: str, metric: str | None = None) -> Comparison | None:
        """The test of arm `a` against arm `b`, read as a - b, or None; `metric` defaults to the report's."""
        for test in self.comparisons:
            if test.metric == (metric or self.metric) and {test.a, test.b} == {a, b}:
                return test if test.a == a else test.reversed()
        return None

    def to_json(self) -> str:
        """The text of report.json, every key present."""
        return self.model_dump_json(by_alias=True, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Report:
        """Read the text of a report.json; ArtefactError where it isn't one."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first, *others = error.errors(include_url=False)
            place = ".".join(map(str, first["loc"])) or "the whole"
            more = f" (and {len(others)} more)" if others else ""
            raise ArtefactError(
                f"This is not a report of schema version 1: {place}: {first['msg']}{more}; "
                "write it again with: distilrec report RUN"
            ) from error


def json_schema() -> str:
    """The JSON Schema of report.json, as published in docs/report.schema.json."""
    schema = Report.model_json_schema(mode="serialization", by_alias=True)
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=2) + "\n"
