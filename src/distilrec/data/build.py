"""From checked columns to a Dataset: ids to places, order of time, liked and disliked, repeats, k-cores."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from distilrec.data.domains import Domains, tell_apart, twins
from distilrec.data.interactions import Dataset, Ids, Interactions
from distilrec.errors import DataError
from distilrec.scoring import Ragged

if TYPE_CHECKING:
    from distilrec.data.config import Preparation
    from distilrec.data.snapshot import Snapshot

__all__ = ["Built", "Repeats", "build", "encode", "first_of_pairs"]

Repeats: TypeAlias = Literal["keep", "first", "last"]
Places: TypeAlias = NDArray[np.int32]
Mask: TypeAlias = NDArray[np.bool_]
Codes: TypeAlias = NDArray[np.uint8]

_PARALLEL: tuple[str, ...] = ("time", "rating", "weight", "part")
_CHUNK = 10_000_000  # interactions looked at together: bounds the memory of sorting


@dataclass(frozen=True, eq=False)
class Built:
    """A dataset, and the user's own parts parallel to the values of its logs, where a column gave them."""

    dataset: Dataset
    part: Codes | None = None
    negatives_part: Codes | None = None


@dataclass(eq=False)
class _Log:
    """Parallel columns by user and in order of time; `take` narrows them in place, one after the other."""

    users: Places
    items: Places
    liked: Mask
    extra: dict[str, NDArray[Any]] = field(default_factory=dict)

    def take(self, which: Mask | NDArray[np.int64]) -> None:
        self.users, self.items, self.liked = self.users[which], self.items[which], self.liked[which]
        for name in self.extra:
            self.extra[name] = self.extra[name][which]


def build(frame: pl.DataFrame, preparation: Preparation, name: str, since: Snapshot | None = None) -> Built:
    """Turn the columns that `read_log` returns into a dataset.

    Ids take their places in sorted order, so that the order of the rows doesn't matter. Without a label
    column and without a threshold every row counts as liked. Repeats are settled before liked and disliked
    part, so that a pair is on one side only (unless all are kept). k-cores are counted on what is liked. The
    caller shouldn't keep the frame: its columns are let go while the arrays are made.
    Of several domains, items that share an id are told apart.
    since: its users and items keep their places, those without interactions too; new ones come after them.
    Raises DataError when nothing is left, or when a threshold has no ratings to judge.
    """
    notes: list[str] = []
    columns = frame.to_dict()
    del frame  # so that each column is let go as soon as its array is made
    liked = _liked(columns, preparation, name, notes)
    domains: Domains | None = None
    if "domain" in columns:
        columns["item"], domains = tell_apart(columns["item"], columns.pop("domain"), name)
    user_ids, users = encode(columns.pop("user"))
    item_ids, items = encode(columns.pop("item"))
    if since is not None:
        user_ids, users = _after(since.user_ids, user_ids, users, f"{name}: users")
        item_ids, items = _after(since.item_ids, item_ids, items, f"{name}: items")
    others = [key for key in _PARALLEL if key in columns]
    extra = {key: columns.pop(key).to_numpy() for key in others}
    log = _Log(users, items, liked, extra)
    del users, items, liked, extra
    _sort(log)
    _settle_repeats(log, len(item_ids), preparation.repeats, notes)
    if preparation.twins == "drop":
        _drop_twins(log, len(user_ids), domains, name, notes)
    keep = _filtered(log, len(user_ids), len(item_ids), preparation, notes)
    if not keep.all():
        log.take(keep)
    if not log.liked.any():
        raise DataError(f"{name}: nothing liked is left to learn from; lower like_threshold or the minimum counts")
    if domains is not None:
        domains = domains.take(np.bincount(log.items, minlength=len(item_ids)) > 0)
    log.users, user_ids = _compact(log.users, user_ids, 0 if since is None else len(since.user_ids))
    log.items, item_ids = _compact(log.items, item_ids, 0 if since is None else len(since.item_ids))
    built = _built(log, Ids(user_ids), Ids(item_ids), name, tuple(notes))
    return built if domains is None else replace(built, dataset=replace(built.dataset, domains=domains))


def encode(external: pl.Series) -> tuple[pl.Series, Places]:
    """The distinct ids, sorted, and the place of each given id among them: (n,) int32.

    >>> encode(pl.Series(["b", "a", "b"]))[1]
    array([1, 0, 1], dtype=int32)
    """
    distinct = external.unique().sort()
    if external.dtype == pl.String:
        codes = external.cast(pl.Enum(distinct)).to_physical().to_numpy().astype(np.int32)
        return distinct, codes
    values, low, high = external.to_numpy(), int(distinct[0]), int(distinct[-1])
    if high - low > 4 * len(values) + 1_000_000:
        return distinct, np.searchsorted(distinct.to_numpy(), values).astype(np.int32)
    table = np.zeros(high - low + 1, dtype=np.int32)
    table[distinct.to_numpy() - low] = np.arange(len(distinct), dtype=np.int32)
    return distinct, table[values - low]


def _after(known: Ids, ids: pl.Series, places: Places, what: str) -> tuple[pl.Series, Places]:
    """Known ids in their places, then those that are new; and the places moved accordingly."""
    if ids.dtype != known.values.dtype:
        raise DataError(
            f"{what} have ids of type {ids.dtype}, and had {known.values.dtype} in the earlier run; write them as they "
            "were, or run without `since`"
        )
    moved = known.encode(ids)
    new = moved < 0
    moved[new] = len(known) + np.arange(int(new.sum()), dtype=np.int32)
    return pl.concat([known.values.alias(ids.name), ids.filter(pl.Series(new))]), moved[places]


def first_of_pairs(users: Places, items: Places, n_items: int, *, last: bool = False) -> Mask:
    """(n,) bool: the first (or last) row of each (user, item); rows must lie by user.

    Chunks of whole users are sorted one after the other, so that memory stays bounded.
    """
    keep = np.ones(len(users), dtype=np.bool_)
    begin = 0
    while begin < len(users):
        end = min(begin + _CHUNK, len(users))
        if end < len(users):
            end = int(np.searchsorted(users, users[end - 1], side="right"))
        keys = users[begin:end].astype(np.int64) * n_items + items[begin:end]
        order = np.argsort(keys, kind="stable")
        same = keys[order[1:]] == keys[order[:-1]]
        keep[begin + (order[:-1] if last else order[1:])[same]] = False
        begin = end
    return keep


def _liked(columns: dict[str, pl.Series], preparation: Preparation, name: str, notes: list[str]) -> Mask:
    threshold = preparation.like_threshold
    if threshold is None and "label" in columns:
        return columns["label"].to_numpy()
    if threshold is None:
        if "rating" in columns:
            notes.append("Every rating counts as liked, the low ones too; like_threshold would part them.")
        return np.ones(len(columns["user"]), dtype=np.bool_)
    if "rating" not in columns or "label" in columns:
        raise DataError(
            f"{name}: like_threshold needs a rating column and no label column; name the one, or leave out the other"
        )
    return (columns["rating"] >= threshold).to_numpy()


def _sort(log: _Log) -> None:
    times = log.extra.get("time")
    step = np.diff(log.users)
    sorted_already = not (step < 0).any()
    if times is not None and sorted_already:
        sorted_already = not ((np.diff(times) < 0) & (step == 0)).any()
    if not sorted_already:
        log.take(np.argsort(log.users, kind="stable") if times is None else np.lexsort((times, log.users)))


def _settle_repeats(log: _Log, n_items: int, repeats: Repeats, notes: list[str]) -> None:
    if repeats == "keep":
        return
    keep = first_of_pairs(log.users, log.items, n_items, last=repeats == "last")
    dropped = int((~keep).sum())
    if dropped:
        log.take(keep)
        notes.append(f"{dropped:,} repeated (user, item) rows were dropped; the {repeats} of each was kept.")


def _drop_twins(log: _Log, n_users: int, domains: Domains | None, name: str, notes: list[str]) -> None:
    """Of items that are one thing in two domains, leave the one in the domain with fewer interactions."""
    if domains is None:
        raise DataError(f"{name}: `twins: drop` is for several domains; name the column in columns.domain")
    liked, _ = _interactions(log, n_users, len(domains.of_items), log.liked)
    one, two = twins(liked, domains.of_items)
    sizes = np.bincount(domains.of_items[log.items[log.liked]], minlength=len(domains.names))
    larger = np.where(sizes[domains.of_items[one]] > sizes[domains.of_items[two]], one, two)
    dropped = np.isin(np.arange(len(domains.of_items)), larger)[log.items]
    if dropped.any():
        log.take(~dropped)
        notes.append(
            f"{len(np.unique(larger)):,} items are in two domains under two ids; they were dropped, with "
            f"{int(dropped.sum()):,} interactions, from the larger one."
        )


def _filtered(log: _Log, n_users: int, n_items: int, preparation: Preparation, notes: list[str]) -> Mask:
    core, users_in, items_in = _k_core(log, n_users, n_items, preparation)
    keep = core | (~log.liked & users_in[log.users] & items_in[log.items])
    lost = int(log.liked.sum() - core.sum())
    if lost:
        notes.append(
            f"{lost:,} interactions were dropped until every user has at least "
            f"{preparation.min_user_interactions} and every item at least "
            f"{preparation.min_item_interactions}."
        )
    if not preparation.use_negatives:
        keep &= log.liked
    disliked, kept = int((~log.liked).sum()), int((keep & ~log.liked).sum())
    if disliked:
        notes.append(f"{disliked:,} of {len(log.liked):,} rows count as disliked; {kept:,} are kept as negatives.")
    return keep


def _k_core(log: _Log, n_users: int, n_items: int, preparation: Preparation) -> tuple[Mask, Mask, Mask]:
    """The liked rows of the k-core, and which users and items may stay; repeated until nothing changes."""
    alive = log.liked.copy()
    users_in, items_in = np.ones(n_users, dtype=np.bool_), np.ones(n_items, dtype=np.bool_)
    per_user, per_item = preparation.min_user_interactions, preparation.min_item_interactions
    while max(per_user, per_item) > 1:
        before = int(alive.sum())
        if per_user > 1:
            users_in = np.bincount(log.users[alive], minlength=n_users) >= per_user
        if per_item > 1:
            items_in = np.bincount(log.items[alive], minlength=n_items) >= per_item
        alive &= users_in[log.users] & items_in[log.items]
        if int(alive.sum()) == before:
            break
    return alive, users_in, items_in


def _compact(places: Places, ids: pl.Series, known: int) -> tuple[Places, pl.Series]:
    """Close the gaps that dropped users or items left, but for the first `known` ones."""
    used = np.bincount(places, minlength=len(ids)) > 0
    used[:known] = True
    if used.all():
        return places, ids
    moved = np.cumsum(used, dtype=np.int32) - 1
    return moved[places].astype(np.int32), ids.filter(pl.Series(used))


def _built(log: _Log, user_ids: Ids, item_ids: Ids, name: str, notes: tuple[str, ...]) -> Built:
    positives, part = _interactions(log, len(user_ids), len(item_ids), log.liked)
    negatives, negatives_part = None, None
    if not log.liked.all():
        negatives, negatives_part = _interactions(log, len(user_ids), len(item_ids), ~log.liked)
    return Built(Dataset(name, positives, user_ids, item_ids, negatives, notes=notes), part, negatives_part)


def _interactions(log: _Log, n_users: int, n_items: int, which: Mask) -> tuple[Interactions, Codes | None]:
    index: Any = slice(None) if which.all() else which
    lengths = np.bincount(log.users[index], minlength=n_users).astype(np.int64)
    extra = {key: values[index] for key, values in log.extra.items()}
    histories = Ragged.from_lengths(lengths, log.items[index])
    interactions = Interactions(histories, n_items, extra.get("time"), extra.get("rating"), extra.get("weight"))
    return interactions, extra.get("part")
