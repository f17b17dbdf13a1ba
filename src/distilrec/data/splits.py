"""Train, validation and test parts of a log, and the queries that each part asks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Annotated, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from distilrec.data.interactions import Interactions
from distilrec.errors import DataError
from distilrec.rng import generator
from distilrec.scoring import Queries, Ragged

__all__ = [
    "PART_CODES",
    "ColdItems",
    "ColdUsers",
    "ColumnSplit",
    "GlobalTime",
    "LeaveLastOut",
    "Part",
    "RandomSplit",
    "Split",
    "SplitConfig",
    "labelled_queries",
    "split",
    "split_negatives",
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
        validation_from, test_from = _bounds(log, self)
        return self.model_copy(update={"validation_from": validation_from, "test_from": test_from})

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
    is to be found, after what the user took of the others before it. A held-out item is in no history, and those for
    validation are left out of what is ranked at test.
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


@dataclass(frozen=True, eq=False)
class Split:
    """A log cut in three.

    log: all interactions. part: (M,) uint8 parallel to the log's values: 0 train, 1 validation, 2 test, 3
    unused. cold_items: (N,) bool, the items that were held out, where items were. after, targets: as in `ColdUsers`,
    where users were held out; else empty.
    """

    log: Interactions
    part: Parts
    cold_items: NDArray[np.bool_] | None = None
    after: tuple[int, ...] = ()
    targets: int = 0

    @cached_property
    def train(self) -> Interactions:
        """What models are trained on."""
        return self.log.select(self.part == TRAIN)

    @cached_property
    def known_at_test(self) -> Interactions:
        """Train and validation together: the histories of the test queries."""
        return self.log.select(self.part <= VALIDATION)

    @property
    def held_out(self) -> Interactions:
        """Validation and test together: what no training and no recording may see.

        Where a part isn't contiguous in time, only pairs of user and item can tell it from training, so what a user
        also took in training isn't among it.
        """
        held_out = self.log.select((self.part == VALIDATION) | (self.part == TEST))
        if held_out.histories.values is self.log.histories.values:
            return held_out
        users, positions = self.log.flat()
        pairs = users * self.log.n_items + self.log.histories.values[positions]
        parts = self.part[positions]
        keep = np.zeros(len(self.part), np.bool_)
        keep[positions] = np.isin(parts, [VALIDATION, TEST]) & ~np.isin(pairs, pairs[parts == TRAIN])
        return self.log.select(keep)

    def queries(self, part: Part) -> tuple[Queries, Ragged]:
        """The queries of a part and the items to be found for them.

        One query per user who has an item in the part. Its history holds what came before: train for
        validation, train and validation for test; these items are the ones to mask. Of users who were held out there
        is a query for each number of first items; where items were, another one for the user's last held-out item.
        """
        code = VALIDATION if part == "validation" else TEST
        if self.cold_items is not None:
            return self._cold_queries(code, self.cold_items)
        targets = self.log.select(self.part == code).histories
        users = np.flatnonzero(targets.lengths > 0)
        if self.after:
            return _after_first(users, targets[users], self.after, self.targets)
        known = self.train if part == "validation" else self.known_at_test
        return Queries(users.astype(np.int32), known.histories[users]), targets[users]

    def queries_for(self, part: Part, items: NDArray[np.bool_]) -> tuple[NDArray[np.int64], Queries, Ragged]:
        """Those of the part's queries that seek one of some items, (N,) bool: their rows, they, and what they seek."""
        queries, targets = self.queries(part)
        rows, values = targets.flat()
        kept = items[values]
        sought = Ragged.from_lengths(np.bincount(rows[kept], minlength=len(targets)), values[kept])
        asked = np.flatnonzero(sought.lengths > 0)
        return asked, queries[asked], sought[asked]

    def _cold_queries(self, code: int, cold_items: NDArray[np.bool_]) -> tuple[Queries, Ragged]:
        """Of each user the last warm and the last cold item of a part, each after the warm ones before it."""
        owners, positions = self.log.flat()
        values, parts = self.log.histories.values, self.part
        cold, known = cold_items[values[positions]], parts[positions] < code
        before = np.append(0, np.cumsum(known & ~cold))  # warm items known, up to each place of the flat log
        warm: NDArray[np.int32] = values[positions[known & ~cold]]
        begins = np.append(0, np.cumsum(self.log.histories.lengths))
        seen = self.log.select(parts < code).histories
        last = []
        for these in (~cold, cold):
            places = np.flatnonzero((parts[positions] == code) & these)
            last.append(places[np.append(owners[places[1:]] != owners[places[:-1]], True)[: len(places)]])
        asked = np.sort(np.concatenate(last))
        users = owners[asked]
        histories = Ragged(before[begins[users]], before[asked], warm)
        targets = Ragged(positions[asked], positions[asked] + 1, values)
        return Queries(users.astype(np.int32), histories, seen[users]), targets


def split(log: Interactions, config: SplitConfig, part_column: Parts | None = None) -> Split:
    """Cut a log in three.

    part_column: (M,) uint8 parallel to the log's values, for kind `column` only.
    Raises DataError when the log lacks what the kind needs (times, a part column).

    >>> log = Interactions(Ragged.from_rows([[0, 1, 2], [2, 0]]), n_items=3)
    >>> split(log, LeaveLastOut()).part
    array([0, 1, 2, 0, 0], dtype=uint8)
    """
    match config:
        case LeaveLastOut():
            part = _last_out(log)
        case GlobalTime():
            part = _by_moments(log, *_bounds(log, config))
        case RandomSplit():
            part = _by_lot(log, config.ratios, generator(config.seed, "split"))
        case ColumnSplit():
            part = _by_column(log, config, part_column, "split")
        case ColdItems():
            return _cold_items(log, config)
        case ColdUsers():
            part = _cold_users(log, config)
            return Split(log, part, after=config.after, targets=config.targets)
    return Split(log, part)


def split_negatives(
    positives: Split, negatives: Interactions, config: SplitConfig, part_column: Parts | None = None
) -> Split:
    """Cut the disliked items in line with the split of the liked ones.

    leave-last-out: what was disliked before the user's validation item is train, then validation, and from
    the time of the test item on test; users without these are train. A log without times can't say what came
    first, so its negatives go by lot, in the shares of the positives. global-time: the same two moments.
    random: a lot of its own from the same seed. column: the negatives' own column.
    """
    match config:
        case LeaveLastOut() if negatives.times is None:
            part = _by_lot(negatives, _shares(positives.part), generator(0, "negatives"))
        case LeaveLastOut():
            part = _around_targets(positives, negatives)
        case GlobalTime():
            part = _by_moments(negatives, *_bounds(positives.log, config))
        case RandomSplit():
            part = _by_lot(negatives, config.ratios, generator(config.seed, "negatives"))
        case ColumnSplit():
            part = _by_column(negatives, config, part_column, "negatives")
        case ColdItems() | ColdUsers():
            raise DataError(
                f"split: kind '{config.kind}' can't hold out dislikes; leave them out with use_negatives: false"
            )
    return Split(negatives, part)


def labelled_queries(likes: Split, dislikes: Split, part: Part) -> tuple[Queries, Ragged, NDArray[np.bool_]]:
    """What the users of a part liked and disliked: queries (Q), their items, and (n,) bool, True for likes.

    The queries are those of `Split.queries`, and of users who only disliked something; the labels run along the
    items, row by row.

    >>> log = Interactions(Ragged.from_rows([[0, 1, 2]]), n_items=5)
    >>> likes, dislikes = Split(log, np.array([0, 1, 2], np.uint8)), Split(log, np.array([1, 2, 2], np.uint8))
    >>> queries, items, labels = labelled_queries(likes, dislikes, "test")
    >>> queries.histories.flat()[1], items.flat()[1], labels
    (array([0, 1], dtype=int32), array([2, 1, 2], dtype=int32), array([ True, False, False]))
    """
    code = VALIDATION if part == "validation" else TEST
    sides = [side.log.select(side.part == code).histories for side in (likes, dislikes)]
    lengths = sides[0].lengths + sides[1].lengths
    users = np.flatnonzero(lengths > 0)
    (liked, items), (disliked, others) = (side[users].flat() for side in sides)
    order = np.argsort(np.concatenate([liked, disliked]), kind="stable")
    rows = Ragged.from_lengths(lengths[users], np.concatenate([items, others])[order])
    histories = (likes.train if part == "validation" else likes.known_at_test).histories
    return Queries(users.astype(np.int32), histories[users]), rows, order < len(liked)


def _cold_items(log: Interactions, config: ColdItems) -> Split:
    taken = np.flatnonzero(log.item_counts() > 0)
    n_cold = round(config.share * len(taken))
    if n_cold < 2 or len(taken) - n_cold < 1:
        raise DataError(
            f"split: kind 'cold-items' would hold out {n_cold} of {len(taken)} items; it needs one for validation, one "
            "for test and one to train on: give another share"
        )
    if config.by == "random":
        order = generator(config.seed, "cold items").permutation(taken)
    else:
        first = np.full(log.n_items, np.iinfo(np.int64).max)
        positions = log.flat()[1]
        np.minimum.at(first, log.histories.values[positions], _times(log, config.kind)[positions])
        order = taken[np.lexsort((taken, first[taken]))]
    validation, test = order[len(order) - n_cold : len(order) - n_cold // 2], order[len(order) - n_cold // 2 :]
    code = np.full(log.n_items, TRAIN, np.uint8)
    code[validation], code[test] = VALIDATION, TEST
    held_out = code[log.histories.values]
    warm = log.select(held_out == TRAIN)
    part = _unused(log)
    positions = log.flat()[1]
    part[positions] = held_out[positions]
    # Where each user's warm interactions are, so that the last two of at least three can be held out, too.
    at = positions[held_out[positions] == TRAIN]
    ends = np.cumsum(warm.histories.lengths)
    last = ends[warm.histories.lengths >= 3] - 1
    part[at[last]], part[at[last - 1]] = TEST, VALIDATION
    return Split(log, part, cold_items=code != TRAIN)


def _cold_users(log: Interactions, config: ColdUsers) -> Parts:
    fitting = np.flatnonzero(log.histories.lengths >= config.after[-1] + config.targets)
    n_users = int((log.histories.lengths > 0).sum())  # of several domains, those of this one
    n_cold = round(config.share * n_users)
    if not 2 <= n_cold <= min(len(fitting), n_users - 1):
        raise DataError(
            f"split: kind 'cold-users' would hold out {n_cold} of {n_users} users, of whom {len(fitting)} took at "
            f"least {config.after[-1] + config.targets} items; give another share, or fewer items in after and targets"
        )
    chosen = generator(config.seed, "cold users").permutation(fitting)[:n_cold]
    code = np.full(log.n_users, TRAIN, np.uint8)
    code[chosen[: n_cold - n_cold // 2]], code[chosen[n_cold - n_cold // 2 :]] = VALIDATION, TEST
    part = _unused(log)
    users, positions = log.flat()
    part[positions] = code[users]
    return part


def _after_first(
    users: NDArray[np.int64], rows: Ragged, after: tuple[int, ...], n_targets: int
) -> tuple[Queries, Ragged]:
    """A query for each user and number of first items, user by user, and the next items to be found."""
    first = np.tile(np.array(after, np.int64), len(users))
    starts = np.repeat(rows.starts, len(after))
    histories = Ragged(starts, starts + first, rows.values)
    targets = Ragged(histories.stops, histories.stops + n_targets, rows.values)
    return Queries(np.repeat(users, len(after)).astype(np.int32), histories), targets


def _moment(value: int | datetime) -> int:
    if isinstance(value, int):
        return value
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1_000_000)


def _unused(log: Interactions) -> Parts:
    return np.full(len(log.histories.values), UNUSED, dtype=np.uint8)


def _last_out(log: Interactions) -> Parts:
    part = _unused(log)
    part[log.flat()[1]] = TRAIN
    last = log.histories.stops[log.histories.lengths >= 3] - 1
    part[last] = TEST
    part[last - 1] = VALIDATION
    return part


def _times(log: Interactions, kind: str) -> NDArray[np.int64]:
    if log.times is None:
        raise DataError(
            f"split: kind '{kind}' needs times, and the log has none; name the time column, or use kind 'random'"
        )
    return log.times


def _bounds(log: Interactions, config: GlobalTime) -> tuple[int, int]:
    times = _times(log, config.kind)[log.flat()[1]]
    given = config.moments()
    if given is not None:
        return given
    if len(times) == 0:
        raise DataError("split: kind 'global-time' can't take quantiles of an empty log; give it interactions")
    ranks = [int(len(times) * quantile) for quantile in config.quantiles]
    ordered = np.partition(times, ranks)
    return int(ordered[ranks[0]]), int(ordered[ranks[1]])


def _by_moments(log: Interactions, validation_from: int, test_from: int) -> Parts:
    part = _unused(log)
    positions = log.flat()[1]
    times = _times(log, "global-time")[positions]
    part[positions] = (times >= validation_from).astype(np.uint8) + (times >= test_from)
    return part


def _shares(part: Parts) -> tuple[float, ...]:
    counts = np.bincount(part, minlength=4)[:3]
    return tuple(counts / counts.sum()) if counts.sum() else (1.0, 0.0, 0.0)


def _by_lot(log: Interactions, shares: tuple[float, ...], rng: np.random.Generator) -> Parts:
    part = _unused(log)
    positions = log.flat()[1]
    ends = np.round(np.cumsum(shares) * len(positions)).astype(np.int64)
    ends[-1] = len(positions)
    lots = np.repeat(np.arange(3, dtype=np.uint8), np.diff(ends, prepend=0))
    rng.shuffle(lots)
    part[positions] = lots
    return part


def _by_column(log: Interactions, config: ColumnSplit, part_column: Parts | None, lots: str) -> Parts:
    if part_column is None:
        raise DataError("split: kind 'column' needs a column with train, validation and test; name it in columns.part")
    if part_column.shape != log.histories.values.shape:
        raise DataError(
            f"split: the part column has shape {part_column.shape}, and the log "
            f"{log.histories.values.shape}; "
            "it must be parallel to the log's values"
        )
    part = _unused(log)
    positions = log.flat()[1]
    part[positions] = part_column[positions]
    if config.validation:
        if (part == VALIDATION).any():
            raise DataError("split: validation is to be drawn from train, but the part column has some; leave it out")
        train = positions[part[positions] == TRAIN]
        drawn = generator(config.seed, lots).permutation(len(train))[: round(config.validation * len(train))]
        part[train[drawn]] = VALIDATION
    return part


def _around_targets(positives: Split, negatives: Interactions) -> Parts:
    times = _times(positives.log, "leave-last-out")
    users, positions = negatives.flat()
    moments = _times(negatives, "leave-last-out")[positions]
    part = _unused(negatives)
    part[positions] = TRAIN
    for code in (VALIDATION, TEST):
        rows, places = positives.log.flat()
        chosen = positives.part[places] == code
        since = np.full(positives.log.n_users, np.iinfo(np.int64).max, dtype=np.int64)
        since[rows[chosen]] = times[places[chosen]]
        part[positions[moments >= since[users]]] = code
    return part
