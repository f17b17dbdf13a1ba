"""What could make an evaluation on a split say more than is true."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from distilrec.data.build import first_of_pairs
from distilrec.data.domains import twins_in_test
from distilrec.data.split_kinds import TEST, TRAIN, VALIDATION
from distilrec.data.splits import Split

if TYPE_CHECKING:
    from distilrec.data.load import Prepared

__all__ = ["Finding", "audit", "audit_domain"]

_SAMPLED_USERS = 10_000  # for the check that sorts; the share it estimates is then known to about a percent


class Finding(BaseModel):
    """One check and what it found.

    value: the share or count that the sentence speaks of.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    check: str
    severity: Literal["ok", "note", "warning"]
    sentence: str
    value: float


def audit(split: Split) -> list[Finding]:
    """Check a split for leakage and for queries that can't be answered.

    parts: sizes, none empty. duplicates: test items that the user had taken before. order: test interactions
    older than something in the same user's history. global-time: training interactions, of any user, later
    than a test interaction. cold-users, cold-items: what test asks that training never saw. item-order:
    whether the place of an item's id foretells its part. repeats: rows of one user and item.

    >>> from distilrec.data.interactions import Interactions
    >>> from distilrec.data.split_kinds import LeaveLastOut
    >>> from distilrec.data.splits import split
    >>> from distilrec.scoring import Ragged
    >>> log = Interactions(Ragged.from_rows([[0, 1, 0], [1, 2, 0]]), n_items=3)
    >>> [found.check for found in audit(split(log, LeaveLastOut())) if found.severity == "warning"]
    ['duplicates']
    """
    rows = _Rows(split)
    findings = [_parts(rows), _duplicates(rows), _repeats(rows)]
    if split.log.times is not None:
        findings += [_order(rows), _global_time(rows)]
    return [*findings, _cold_users(rows), _cold_items(rows), _item_order(rows)]


def audit_domain(prepared: Prepared) -> Finding:
    """Check one domain of several for test items that the user took in another domain under another id."""
    found, of = twins_in_test(prepared)
    return _finding(
        "twins",
        found / max(1, of),
        f"{found:,} of {of:,} test items have a twin in another domain, which nearly the same users took, this user in "
        "training: the same thing twice, so that what domains bring each other is partly no knowledge of taste. Load "
        "with `twins: drop`.",
        "No test item is known from another domain under another id.",
        "warning",
    )


class _Rows:
    """The interactions of a split as parallel columns, and which are known before test."""

    def __init__(self, split: Split) -> None:
        log = split.log
        users, positions = log.flat()
        self.n_users, self.n_items = log.n_users, log.n_items
        self.users = users.astype(np.int32)
        self.items = log.histories.values[positions]
        self.part = split.part[positions]
        self.times = None if log.times is None else log.times[positions]
        self.known = self.part <= VALIDATION
        self.test = self.part == TEST
        self.n_test = int(self.test.sum())

    def share(self, count: int) -> float:
        """Of the test interactions."""
        return count / max(1, self.n_test)


def _finding(check: str, value: float, sentence: str, otherwise: str, bad: Literal["note", "warning"]) -> Finding:
    found = value > 0
    return Finding(check=check, severity=bad if found else "ok", sentence=sentence if found else otherwise, value=value)


def _parts(rows: _Rows) -> Finding:
    sizes = {name: int((rows.part == code).sum()) for name, code in _PARTS.items()}
    empty = [name for name, size in sizes.items() if size == 0]
    counted = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
    sentence = f"No interaction is in {' or '.join(empty)} ({counted}); change the split."
    return _finding("parts", len(empty), sentence, f"Interactions: {counted}.", "warning")


_PARTS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}


def _duplicates(rows: _Rows) -> Finding:
    asked = np.unique(_keys(rows, rows.test))
    known = _keys(rows, rows.known)
    count = int(_are_in(asked, np.unique(known[_are_in(known, asked)])).sum())
    sentence = (
        f"{count:,} user-item pairs of test ({rows.share(count):.1%}) are in the user's training or "
        "validation part too: "
        "their items are masked and can't be found, or were learned; load with repeats: first."
    )
    return _finding("duplicates", count, sentence, "No pair of test was known before.", "warning")


def _keys(rows: _Rows, which: NDArray[np.bool_]) -> NDArray[np.int64]:
    return rows.users[which].astype(np.int64) * rows.n_items + rows.items[which]


def _are_in(values: NDArray[np.int64], pool: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each value is in the pool, which is sorted."""
    if len(pool) == 0:
        return np.zeros(len(values), dtype=np.bool_)
    places = np.minimum(np.searchsorted(pool, values), len(pool) - 1)
    return np.asarray(pool[places] == values)


def _repeats(rows: _Rows) -> Finding:
    count = int((~first_of_pairs(rows.users, rows.items, rows.n_items)).sum())
    sentence = f"{count:,} rows repeat an earlier one of the same user and item; load with repeats: first to drop them."
    return _finding("repeats", count, sentence, "No user took an item twice.", "note")


def _order(rows: _Rows) -> Finding:
    assert rows.times is not None
    latest = np.full(rows.n_users, np.iinfo(np.int64).min)
    np.maximum.at(latest, rows.users[rows.known], rows.times[rows.known])
    count = int((rows.times[rows.test] < latest[rows.users[rows.test]]).sum())
    sentence = (
        f"{count:,} test interactions ({rows.share(count):.1%}) are older than something in the same "
        "user's history: "
        "the past is guessed from the future; split by time."
    )
    return _finding(
        "order",
        rows.share(count),
        sentence,
        "No user's test item is older than the user's history.",
        "warning",
    )


def _global_time(rows: _Rows) -> Finding:
    assert rows.times is not None
    moments = np.sort(rows.times[rows.part == TRAIN])
    later = len(moments) - np.searchsorted(moments, rows.times[rows.test], side="right")
    looks = np.unique(rows.users[rows.test][later > 0])
    share = len(looks) / max(1, len(np.unique(rows.users[rows.test])))
    mean = float(later.mean()) / max(1, len(moments)) if rows.n_test else 0.0
    sentence = (
        f"{share:.1%} of test users are asked about a time before the end of training: on average "
        f"{mean:.1%} of the "
        "training interactions, of all users, are later than the test interaction; a split of kind "
        "global-time has none."
    )
    return _finding("global-time", share, sentence, "All of training is before all of test.", "note")


def _cold_users(rows: _Rows) -> Finding:
    asked = np.unique(rows.users[rows.test])
    count = int((np.bincount(rows.users[rows.known], minlength=rows.n_users)[asked] == 0).sum())
    sentence = f"{count:,} of {len(asked):,} test users ({count / max(1, len(asked)):.1%}) have no history."
    return _finding("cold-users", count, sentence, "Every test user took something before.", "note")


def _cold_items(rows: _Rows) -> Finding:
    seen = np.bincount(rows.items[rows.part == TRAIN], minlength=rows.n_items) > 0
    asked = rows.items[rows.test]
    cold = asked[~seen[asked]]
    sentence = (
        f"{len(np.unique(cold)):,} items of test are never seen in training: {rows.share(len(cold)):.1%} "
        "of the test "
        "interactions, which no model of behaviour alone can answer."
    )
    return _finding("cold-items", rows.share(len(cold)), sentence, "Every item of test is seen in training.", "note")


def _item_order(rows: _Rows) -> Finding:
    """How often a test item has a later id than the user's training items, less how often an earlier one."""
    value = _order_effect(rows)
    sentence = (
        f"A user's test items have {'later' if value > 0 else 'earlier'} ids than the user's training items "
        f"({value:+.2f} on a scale from -1 to 1)"
    )
    if abs(value) > 0.9:
        return Finding(
            check="item-order",
            severity="warning",
            sentence=sentence + ": the split follows the item ids; split anew.",
            value=value,
        )
    severity: Literal["ok", "note"] = "note" if abs(value) > 0.5 else "ok"
    ending = (
        "; ids given in order of time could do that."
        if severity == "note"
        else ", so the split doesn't follow the ids."
    )
    return Finding(check="item-order", severity=severity, sentence=sentence + ending, value=value)


def _order_effect(rows: _Rows) -> float:
    asked = np.unique(rows.users[rows.test])
    chosen = np.zeros(rows.n_users, dtype=np.bool_)
    chosen[asked[:: 1 + len(asked) // _SAMPLED_USERS]] = True
    kept = chosen[rows.users] & ((rows.part == TRAIN) | rows.test)
    users, items, test = rows.users[kept], rows.items[kept], rows.test[kept]
    order = np.lexsort((items, users))
    users, test = users[order], test[order]
    train = np.cumsum(~test)
    per_user = np.bincount(users, weights=~test, minlength=rows.n_users)
    before_user = np.cumsum(per_user) - per_user
    has_train = per_user[users[test]] > 0
    if not has_train.any():
        return 0.0
    below = (train[test] - before_user[users[test]])[has_train] / per_user[users[test]][has_train]
    return float(2 * below.mean() - 1)
