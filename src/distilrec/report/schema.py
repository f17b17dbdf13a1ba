"""What report.json holds: the results of one run, schema version 1."""

from __future__ import annotations

import json
from typing import Annotated, Literal, Self, TypeAlias, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from distilrec.errors import ArtefactError

__all__ = ["Report", "Role", "json_schema"]

MainRole: TypeAlias = Literal["teacher", "student_alone", "distilled_student"]
Role: TypeAlias = MainRole | Literal["control"]


def _ordered(interval: tuple[float, float]) -> tuple[float, float]:
    if interval[0] > interval[1]:
        raise ValueError(f"an interval runs from low to high, and this one is {list(interval)}")
    return interval


Interval: TypeAlias = Annotated[tuple[float, float], AfterValidator(_ordered)]
Count: TypeAlias = Annotated[int, Field(ge=0)]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Positive: TypeAlias = Annotated[float, Field(ge=0)]


class _Part(BaseModel):
    """Unknown keys are errors, and so are NaN and infinity, which JSON can't hold."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class Data(_Part):
    """The data of the run, after cleaning."""

    name: str
    users: Count
    items: Count
    interactions: Count
    split: str
    """How the log was cut, in words."""
    fingerprint: str
    notes: list[str] = []
    """What loading did, in sentences."""


class Estimate(_Part):
    """A mean over queries with its 95 % interval (null where none was computed)."""

    mean: float
    ci95: Interval | None = None


class Measurement(Estimate):
    """An estimate over several seeds; `std` is the standard deviation between seeds (null for one seed)."""

    std: Positive | None = None
    per_seed: list[float]


class Latency(_Part):
    """Milliseconds from one test query to its top ten on one thread, at percentiles over some hundred queries."""

    p50: Positive
    p95: Positive
    p99: Positive


class Arm(_Part):
    """One thing that was measured. Of several arms with one role, the verdict speaks of the first."""

    name: str
    role: Role
    model: str
    method: str | None = None
    """How it was distilled, or what the control does; null for plain training."""
    knows_more: bool = False
    """Whether it reads items of the test users that the student can't know: those of validation."""
    seeds: list[int]
    parameters: Count
    bytes: Count
    metrics: dict[str, Measurement]
    """By name: ndcg@10, coverage@10, popularity_shift@10, ...; like_auc, like_f1, ... where dislikes are known."""
    latency_ms: Latency | None = None
    train_seconds: Positive | None = None
    record_seconds: Positive | None = None


class Comparison(_Part):
    """A paired, two-sided test of arm `a` against arm `b` over queries; difference = a - b."""

    a: str
    b: str
    metric: str
    difference: float
    ci95: Interval
    p_value: Share
    p_holm: Share
    """The p-value after Holm's correction over all comparisons of the report."""
    test: str

    def reversed(self) -> Comparison:
        """The same test, read as b - a."""
        low, high = self.ci95
        flipped = {"a": self.b, "b": self.a, "difference": -self.difference, "ci95": (-high, -low)}
        return self.model_copy(update=flipped)


class Compression(_Part):
    """Distilled student / teacher, user vectors counted; latency is the median."""

    parameters: Positive | None
    bytes: Positive | None
    latency: Positive | None = None


class Bin(_Part):
    """A group of queries, and each arm's mean of the report's metric over it."""

    label: str
    count: Count
    values: dict[str, float]


class Slice(_Part):
    """The queries cut into groups, such as by history length or item popularity."""

    by: str
    bins: list[Bin]


class ParetoPoint(_Part):
    """One model of the picture of quality against size."""

    name: str
    role: Role
    parameters: Count
    bytes: Annotated[int, Field(gt=0)]
    precision: str
    """Of the weights: float32, float16, int8."""
    latency_p50_ms: Positive | None = None
    metrics: dict[str, Estimate]
    on_front: bool
    """No other point is as good in fewer bytes."""


class Curve(_Part):
    """The training of one arm under one seed; the lists run along `epochs`."""

    arm: str
    seed: int
    epochs: list[int]
    loss: list[float]
    validation: list[float | None]
    """The recipe's `training.metric` on validation; null in epochs that were not validated."""
    losses: dict[str, list[float]] = {}
    """The terms of `loss`, by name."""

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        lengths = {name: len(values) for name, values in self.losses.items()}
        lengths |= {"loss": len(self.loss), "validation": len(self.validation)}
        for name, length in lengths.items():
            if length != len(self.epochs):
                raise ValueError(f"{name} has {length} values for {len(self.epochs)} epochs")
        return self


class Listed(_Part):
    """One place of a recommendation list."""

    item: str
    title: str
    hit: bool
    """It is a held-out item."""


class Example(_Part):
    """One user: titles of the history (oldest first) and of the held-out items, and the lists given."""

    user: str
    history: list[str]
    held_out: list[str]
    teacher: list[Listed]
    student: list[Listed]
    """Of the distilled student."""


class Disagreement(_Part):
    """An item that teacher and distilled student place differently.

    Ranks are means over queries, 1 is best; exposure is the share of queries whose top list holds the item.
    """

    item: str
    title: str
    teacher_rank: Annotated[float, Field(ge=1)]
    student_rank: Annotated[float, Field(ge=1)]
    teacher_exposure: Share
    student_exposure: Share


class Finding(_Part):
    """What one check for leakage found."""

    check: str
    severity: Literal["ok", "info", "warning", "error"]
    sentence: str
    value: float | str | None = None


class Tuning(_Part):
    """How the settings of one arm were chosen, on validation."""

    arm: str
    trials: Count
    settings: dict[str, JsonValue]
    validation: float | None = None
    note: str = ""


class Smallest(_Part):
    """How the distilled student's width and precision were chosen: the fewest bytes within limits, on validation."""

    keep: Share | None
    """The least share of the teacher's NDCG@10 that was asked for; null where none was, as with the other limits."""
    max_bytes: Count | None
    max_ms: Positive | None
    tried: Count
    """Students, of all widths and precisions."""
    width: Count
    precision: str
    kept: Positive
    """Share of the teacher's NDCG@10 that the chosen student keeps on validation."""
    bytes: Count
    ms: Positive
    """Median per query."""


class Change(_Part):
    """A model's quality on new interactions, and on the test part of the run that trained it; means over users.

    The difference is now - before, over different users and queries, so its interval is not that of a paired test.
    """

    before: Estimate
    now: Estimate
    difference: float
    ci95: Interval | None


class Drift(_Part):
    """What is new since the run that this one goes on from, and how that run's models do on it."""

    since: str
    """The folder of that run."""
    new_interactions: Count
    gone_interactions: Count
    """Of that run's, which aren't in the log any more."""
    new_users: Count
    new_items: Count
    unknown_to_teacher: Share
    """Of the new interactions: those with items that the teacher can't list."""
    popularity: Share | None
    """Jensen-Shannon distance of the new interactions' items from those of the others, in bits ** 0.5."""
    popularity_by_chance: Share | None
    """The distance of as many interactions that were drawn from the others."""
    queries: Count
    """New interactions with a history before them, or a sample of these, on which the models are measured."""
    users: Count
    teacher: Change | None
    """In the report's metric; null where there are no such interactions."""
    student: Change | None
    """Of that run's distilled student."""
    overlap: dict[str, Estimate]
    """By measure: how far the lists of today's distilled student are those of that run's."""
    labels_reused: Share
    """Of today's soft labels: those that were taken over."""
    retrain: bool | None
    """The interval of the teacher's difference lies below 0."""
    sentence: str


class Environment(_Part):
    """What is needed to run it again."""

    versions: dict[str, str]
    machine: str
    threads: Annotated[int, Field(ge=1)] | None = None
    """Of each process; with another number, sums may differ in their last bits."""
    seed: int
    command: str
    date: str
    """ISO 8601."""
    commit: str | None = None


class Report(_Part):
    """The results of one run.

    >>> Report.from_json('{"schema": 2}')
    Traceback (most recent call last):
    distilrec.errors.ArtefactError: This is not a report of schema version 1: schema: Input should be 1 \
(and 8 more); write it again with: distilrec report RUN
    """

    model_config = ConfigDict(populate_by_name=True)

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
