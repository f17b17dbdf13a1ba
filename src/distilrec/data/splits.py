"""Train, validation and test parts of a log, and the queries that each part asks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from distilrec.data.interactions import Interactions
from distilrec.data.split_kinds import (
    TEST,
    TRAIN,
    UNUSED,
    VALIDATION,
    ColdItems,
    ColdUsers,
    ColumnSplit,
    GlobalTime,
    LeaveLastOut,
    Part,
    Parts,
    RandomSplit,
    SplitConfig,
    times_of,
)
from distilrec.errors import DataError
from distilrec.rng import generator
from distilrec.scoring import Queries, Ragged

__all__ = ["Split", "labelled_queries", "split", "split_negatives"]


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
            part = _by_moments(log, *config.bounds(log))
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
            part = _by_moments(negatives, *config.bounds(positives.log))
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
        np.minimum.at(first, log.histories.values[positions], times_of(log, config.kind)[positions])
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


def _unused(log: Interactions) -> Parts:
    return np.full(len(log.histories.values), UNUSED, dtype=np.uint8)


def _last_out(log: Interactions) -> Parts:
    part = _unused(log)
    part[log.flat()[1]] = TRAIN
    last = log.histories.stops[log.histories.lengths >= 3] - 1
    part[last] = TEST
    part[last - 1] = VALIDATION
    return part


def _by_moments(log: Interactions, validation_from: int, test_from: int) -> Parts:
    part = _unused(log)
    positions = log.flat()[1]
    times = times_of(log, "global-time")[positions]
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
    times = times_of(positives.log, "leave-last-out")
    users, positions = negatives.flat()
    moments = times_of(negatives, "leave-last-out")[positions]
    part = _unused(negatives)
    part[positions] = TRAIN
    for code in (VALIDATION, TEST):
        rows, places = positives.log.flat()
        chosen = positives.part[places] == code
        since = np.full(positives.log.n_users, np.iinfo(np.int64).max, dtype=np.int64)
        since[rows[chosen]] = times[places[chosen]]
        part[positions[moments >= since[users]]] = code
    return part
