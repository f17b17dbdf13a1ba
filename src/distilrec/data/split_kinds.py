"""The kinds of split, as recipes name them, and the parts that they cut a log into."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from distilrec.data.interactions import Interactions
from distilrec.errors import DataError

__all__ = [
    "PART_CODES",
    "TEST",
    "TRAIN",
    "UNUSED",
    "VALIDATION",
    "ColdItems",
    "ColdUsers",
    "ColumnSplit",
    "GlobalTime",
    "LeaveLastOut",
    "Part",
    "Parts",
    "RandomSplit",
    "SplitConfig",
    "times_of",
]

TRAIN, VALIDATION, TEST, UNUSED = 0, 1, 2, 3

PART_CODES = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "dev": VALIDATION,
    "test": TEST,
}

Part = Literal["validation", "test"]
Parts: TypeAlias = NDArray[np.uint8]


class _Kind(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LeaveLastOut(_Kind):
    """Of each user with at least 3 interactions, the last is test and the second-last validation."""

    kind: Literal["leave-last-out"] = "leave-last-out"


class GlobalTime(_Kind):
    """Everything from one moment on is validation, from a later one on test, for all users alike.

    quantiles: where these moments lie among the interactions, each in (0, 1).
    validation_from, test_from: the moments themselves, in the log's own unit, or dates (read as UTC) where
    the log held dates; they go before the quantiles.

    >>> GlobalTime(validation_from="2024-01-01", test_from="2024-02-01").moments()
    (1704067200000000, 1706745600000000)
    """

    kind: Literal["global-time"] = "global-time"
    quantiles: tuple[float, float] = (0.8, 0.9)
    validation_from: int | datetime | None = None
    test_from: int | datetime | None = None

    @model_validator(mode="after")
    def _ordered(self) -> GlobalTime:
        if not 0 < self.quantiles[0] < self.quantiles[1] < 1:
            raise ValueError(f"quantiles must rise within (0, 1), and are {self.quantiles}")
        if (self.validation_from is None) != (self.test_from is None):
            raise ValueError("give both validation_from and test_from, or neither")
        moments = self.moments()
        if moments is not None and moments[0] >= moments[1]:
            raise ValueError("validation_from must lie before test_from")
        return self

    def at_moments(self, log: Interactions) -> GlobalTime:
        """The same with the moments that the quantiles are of this log."""
        validation_from, test_from = self.bounds(log)
        return self.model_copy(update={"validation_from": validation_from, "test_from": test_from})

    def bounds(self, log: Interactions) -> tuple[int, int]:
        """The first moments of validation and of test in this log, in its own unit."""
        times = times_of(log, self.kind)[log.flat()[1]]
        given = self.moments()
        if given is not None:
            return given
        if len(times) == 0:
            raise DataError("split: kind 'global-time' can't take quantiles of an empty log; give it interactions")
        ranks = [int(len(times) * quantile) for quantile in self.quantiles]
        ordered = np.partition(times, ranks)
        return int(ordered[ranks[0]]), int(ordered[ranks[1]])

    def moments(self) -> tuple[int, int] | None:
        """The given moments as integers, microseconds for dates; None where quantiles decide."""
        if self.validation_from is None or self.test_from is None:
            return None
        return _moment(self.validation_from), _moment(self.test_from)


class RandomSplit(_Kind):
    """Each interaction goes to a part by lot, in exactly these shares (train, validation, test).

    A history may then hold items that the user took later; `distilrec.data.audit` says how often.
    """

    kind: Literal["random"] = "random"
    ratios: tuple[float, float, float] = (0.8, 0.1, 0.1)
    seed: int = 0

    @model_validator(mode="after")
    def _sum_to_one(self) -> RandomSplit:
        if min(self.ratios) < 0 or abs(sum(self.ratios) - 1) > 1e-6:
            raise ValueError(f"ratios must be at least 0 and sum to 1, and are {self.ratios}")
        return self


class ColumnSplit(_Kind):
    """The user's own split: the column that `Columns.part` names.

    validation: the share of train that becomes validation, by lot, for columns that hold none.
    """

    kind: Literal["column"] = "column"
    validation: float = Field(default=0.0, ge=0, lt=1)
    seed: int = 0


class ColdItems(_Kind):
    """Some items are held out with all their interactions, and leave-last-out is done with the others.

    share: of the items that are held out; half of them are validation, half test. by: `random`, or `first-seen`, those
    that were taken first at the latest times, the later half being test. Of each user the last held-out item of a part
    is to be found, after what the user took of the others before it. A held-out item is in no history, and all of them
    are ranked, those of the other part, too.
    """

    kind: Literal["cold-items"] = "cold-items"
    share: float = Field(default=0.2, gt=0, lt=1)
    by: Literal["random", "first-seen"] = "random"
    seed: int = 0


class ColdUsers(_Kind):
    """Some users are held out with all their interactions, and asked after each of a few numbers of items.

    share: of the users that are held out; half of them are validation, half test. after: so many first items make the
    history of a query. targets: so many next ones are to be found. Users who took fewer than the two together are
    train.
    """

    kind: Literal["cold-users"] = "cold-users"
    share: float = Field(default=0.2, gt=0, lt=1)
    after: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(0, 1, 2, 3, 5, 10), min_length=1)
    targets: int = Field(default=10, ge=1)
    seed: int = 0

    @model_validator(mode="after")
    def _ascending(self) -> ColdUsers:
        if list(self.after) != sorted(set(self.after)):
            raise ValueError(f"after must ascend, each number once, and is {self.after}")
        return self


SplitConfig: TypeAlias = Annotated[
    LeaveLastOut | GlobalTime | RandomSplit | ColumnSplit | ColdItems | ColdUsers, Field(discriminator="kind")
]


def times_of(log: Interactions, kind: str) -> NDArray[np.int64]:
    """The log's times; DataError where it has none, and this kind of split needs them."""
    if log.times is None:
        raise DataError(
            f"split: kind '{kind}' needs times, and the log has none; name the time column, or use kind 'random'"
        )
    return log.times


def _moment(value: int | datetime) -> int:
    if isinstance(value, int):
        return value
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1_000_000)
