"""The parts of report.json."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator

__all__ = [
    "Arm",
    "Bin",
    "Change",
    "Comparison",
    "Compression",
    "Count",
    "Curve",
    "Data",
    "Disagreement",
    "Drift",
    "Environment",
    "Estimate",
    "Example",
    "Finding",
    "Hybrid",
    "Interval",
    "Latency",
    "Listed",
    "MainRole",
    "Measurement",
    "ParetoPoint",
    "Part",
    "Positive",
    "Role",
    "Share",
    "Slice",
    "Smallest",
    "Tuning",
]

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


class Part(BaseModel):
    """Unknown keys are errors, and so are NaN and infinity, which JSON can't hold."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class Data(Part):
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


class Estimate(Part):
    """A mean over queries with its 95 % interval (null where none was computed)."""

    mean: float
    ci95: Interval | None = None


class Measurement(Estimate):
    """An estimate over several seeds; `std` is the standard deviation between seeds (null for one seed)."""

    std: Positive | None = None
    per_seed: list[float]


class Latency(Part):
    """Milliseconds from one test query to its top ten on one thread, at percentiles over some hundred queries."""

    p50: Positive
    p95: Positive
    p99: Positive


class Arm(Part):
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


class Comparison(Part):
    """A paired, two-sided test of arm `a` against arm `b` over queries; difference = a - b."""

    a: str
    b: str
    metric: str
    difference: float
    ci95: Interval
    p_value: Share
    p_holm: Share
    """The p-value after Holm's correction over all comparisons of the report."""
    p_wilcoxon: Share | None = None
    """By Wilcoxon's signed-rank test, uncorrected."""
    test: str

    def reversed(self) -> Comparison:
        """The same test, read as b - a."""
        low, high = self.ci95
        flipped = {"a": self.b, "b": self.a, "difference": -self.difference, "ci95": (-high, -low)}
        return self.model_copy(update=flipped)


class Compression(Part):
    """Distilled student / teacher, user vectors counted; latency is the median."""

    parameters: Positive | None
    bytes: Positive | None
    latency: Positive | None = None


class Bin(Part):
    """A group of queries, and each arm's mean of the report's metric over it."""

    label: str
    count: Count
    values: dict[str, float]


class Slice(Part):
    """The queries cut into groups, such as by history length or item popularity."""

    by: str
    bins: list[Bin]


class ParetoPoint(Part):
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


class Curve(Part):
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


class Listed(Part):
    """One place of a recommendation list."""

    item: str
    title: str
    hit: bool
    """It is a held-out item."""


class Example(Part):
    """One user: titles of the end of the history (oldest first) and of the held-out items, and the lists given."""

    user: str
    earlier: Count = 0
    """Items of the history before these."""
    history: list[str]
    held_out: list[str]
    teacher: list[Listed]
    student: list[Listed]
    """Of the distilled student."""


class Disagreement(Part):
    """An item that teacher and distilled student place differently.

    Ranks are means over queries, 1 is best; exposure is the share of queries whose top list holds the item.
    """

    item: str
    title: str
    teacher_rank: Annotated[float, Field(ge=1)]
    student_rank: Annotated[float, Field(ge=1)]
    teacher_exposure: Share
    student_exposure: Share


class Finding(Part):
    """What one check for leakage found."""

    check: str
    severity: Literal["ok", "info", "warning", "error"]
    sentence: str
    value: float | str | None = None


class Tuning(Part):
    """How the settings of one arm were chosen, on validation."""

    arm: str
    trials: Count
    settings: dict[str, JsonValue]
    validation: float | None = None
    note: str = ""


class Smallest(Part):
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


class Hybrid(Part):
    """What each part of a hybrid or a teacher weighs, by how much is known of user and item; of the first seed."""

    members: list[str]
    """Whose standardised scores are added up."""
    by_user: dict[str, list[float]]
    """By the length of the history: the weight of each member."""
    by_item: dict[str, list[float]]
    """By the item's interactions in training: the weight of each member; empty for a teacher."""


class Change(Part):
    """A model's quality on new interactions, and on the test part of the run that trained it; means over users.

    The difference is now - before, over different users and queries, so its interval is not that of a paired test.
    """

    before: Estimate
    now: Estimate
    difference: float
    ci95: Interval | None


class Drift(Part):
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


class Environment(Part):
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
