"""Several domains in one log: their items told apart, each split by itself, and one of them as data of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from distilrec.data.interactions import Dataset, Ids, Interactions
from distilrec.data.split_kinds import TEST, TRAIN, UNUSED, VALIDATION, ColdItems, ColdUsers, GlobalTime, SplitConfig
from distilrec.data.splits import Split, split, split_negatives
from distilrec.errors import DataError
from distilrec.rng import child_seed
from distilrec.scoring import Ragged

if TYPE_CHECKING:
    from distilrec.data.build import Built
    from distilrec.data.load import Prepared

__all__ = ["Domains", "Places", "only", "split_each", "taken_elsewhere", "tell_apart", "twins", "twins_in_test"]

Codes = NDArray[np.uint8]
MOST = 100  # domains
TWINS = 0.8  # share of the users of two items who took both
ORDERS = 8  # in which twins are looked for
ALIKE = 1_000  # most items with one least user that are compared with each other


@dataclass(frozen=True, eq=False)
class Domains:
    """Which domain each item belongs to.

    names: in sorted order. of_items: (N,) uint8, places in `names`. own_ids: (N,) the items' ids as the log gave them,
    of which two domains may have the same.
    """

    names: tuple[str, ...]
    of_items: Codes
    own_ids: pl.Series

    def take(self, which: NDArray[np.bool_]) -> Domains:
        """Those of some items."""
        return Domains(self.names, self.of_items[which], self.own_ids.filter(pl.Series(which)))

    def code(self, name: str, where: str) -> int:
        """The place of a domain's name. Raises DataError where there is none."""
        if name not in self.names:
            raise DataError(f"{where}: no domain is called {name!r}; there are {', '.join(self.names)}")
        return self.names.index(name)


@dataclass(frozen=True, eq=False)
class Places:
    """Where a domain's users (U,) and items (N,) int32 are among those of all domains, and the domain's code."""

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    code: int


def tell_apart(items: pl.Series, domains: pl.Series, where: str) -> tuple[pl.Series, Domains]:
    """Ids that differ between domains, row by row, and what `Domains` says of the distinct ones, in sorted order.

    Ids of which none is in two domains stay as they are; else each becomes DOMAIN/ID. Raises DataError where the log
    has one domain only, or more than 100.

    >>> ids, told = tell_apart(pl.Series([7, 7, 8]), pl.Series(["books", "films", "books"]), "log")
    >>> ids.to_list(), told.of_items, told.own_ids.to_list()
    (['books/7', 'films/7', 'books/8'], array([0, 0, 1], dtype=uint8), [7, 8, 7])
    """
    names = domains.unique().sort()
    if not 2 <= len(names) <= MOST:
        raise DataError(
            f"{where}: {len(names)} domains, from {names[0]!r} to {names[-1]!r}; there must be 2 to {MOST}, or none "
            "named in columns.domain"
        )
    frame = pl.DataFrame({"own": items, "domain": domains})
    distinct = frame.unique()
    ids = pl.col("own")
    if distinct["own"].n_unique() < distinct.height:
        ids = pl.concat_str(pl.col("domain"), pl.lit("/"), pl.col("own").cast(pl.String))
    told = distinct.with_columns(ids.alias("id")).sort("id")
    codes = told["domain"].cast(pl.Enum(names)).to_physical().to_numpy().astype(np.uint8)
    return frame.select(ids.alias("item"))["item"], Domains(tuple(names), codes, told["own"])


def split_each(dataset: Dataset, domains: Domains, config: SplitConfig, built: Built) -> tuple[Split, Split | None]:
    """Cut each domain by itself, and give the parts of all: so no domain trains on what another one tests.

    The moments of global-time are those of the whole log. Of users who are held out, each domain draws its own, and the
    parts of all have an ordinary query for each: after what they took in other domains.
    """
    log, dislikes = dataset.interactions, dataset.negatives
    part = np.full(len(log.histories.values), UNUSED, np.uint8)
    negatives_part = None if dislikes is None else np.full(len(dislikes.histories.values), UNUSED, np.uint8)
    cold = np.zeros(log.n_items, np.bool_)
    if isinstance(config, GlobalTime):
        config = config.at_moments(log)
    for code, name in enumerate(domains.names):
        own = config
        if isinstance(config, ColdUsers):
            own = config.model_copy(update={"seed": child_seed(config.seed, "domain", name)})
        positions, narrow = _narrowed(log, domains.of_items == code)
        column = None if built.part is None else built.part[positions]
        try:
            cut = split(narrow, own, column)
        except DataError as error:
            raise DataError(f"domain {name!r}: {error}") from error
        part[positions] = cut.part
        if cut.cold_items is not None:
            cold |= cut.cold_items
        if dislikes is not None and negatives_part is not None:
            positions, narrow = _narrowed(dislikes, domains.of_items == code)
            column = None if built.negatives_part is None else built.negatives_part[positions]
            negatives_part[positions] = split_negatives(cut, narrow, own, column).part
    whole = Split(log, part, cold_items=cold if isinstance(config, ColdItems) else None)
    return whole, None if dislikes is None or negatives_part is None else Split(dislikes, negatives_part)


def only(prepared: Prepared, name: str, config: SplitConfig) -> Prepared:
    """One domain of several: its items under their own ids, and its users, those who took anything in it."""
    dataset, whole = prepared.dataset, prepared.split
    domains = dataset.domains
    if domains is None:
        raise DataError(f"{dataset.name}: domain {name!r} can't be taken out; name the column in columns.domain")
    code = domains.code(name, dataset.name)
    kept = domains.of_items == code
    items = np.flatnonzero(kept).astype(np.int32)
    users = np.flatnonzero(np.bincount(whole.log.flat()[0][_of(whole.log, kept)], minlength=whole.log.n_users) > 0)
    places = Places(users.astype(np.int32), items, code)
    log, part = _cut_out(whole, places, kept)
    negatives, negatives_split = None, None
    if prepared.negatives_split is not None:
        negatives, negatives_part = _cut_out(prepared.negatives_split, places, kept)
        negatives_split = Split(negatives, negatives_part)
    ids = Ids(domains.own_ids.filter(pl.Series(kept)))
    frame = None if dataset.items is None else dataset.items.filter(pl.Series(kept)).with_columns(item=ids.values)
    contents = {
        key: replace(content, item_ids=ids, known=content.known[kept]) for key, content in dataset.contents.items()
    }
    cold = None if whole.cold_items is None else whole.cold_items[kept]
    asked = (config.after, config.targets) if isinstance(config, ColdUsers) else ((), 0)
    return replace(
        prepared,
        dataset=Dataset(
            f"{dataset.name}: {name}", log, Ids(dataset.user_ids.values.gather(users)), ids, negatives, frame, contents,
            dataset.notes,
        ),
        split=Split(log, part, cold, *asked),
        negatives_split=negatives_split,
        whole=prepared,
        places=places,
    )  # fmt: skip


def taken_elsewhere(prepared: Prepared) -> Ragged:
    """For each user of a domain what they took in training in the others, in places of all: what is known of them.

    Where the log has times, only what they took before the first interaction that is held out of them here.
    """
    whole, places, split = prepared.whole, prepared.places, prepared.split
    assert whole is not None  # it is one domain of several
    assert places is not None
    assert whole.dataset.domains is not None
    _, log = _narrowed(whole.split.train, whole.dataset.domains.of_items != places.code)
    kept = np.isin(np.arange(log.n_users), places.users)[log.flat()[0]]
    if log.times is not None and split.log.times is not None:
        users, at = split.log.flat()
        held_out = np.isin(split.part[at], (VALIDATION, TEST))
        first = np.full(log.n_users, np.iinfo(np.int64).max)
        np.minimum.at(first, places.users[users[held_out]], split.log.times[at[held_out]])
        kept &= log.times < first[log.flat()[0]]
    lengths = np.bincount(log.flat()[0][kept], minlength=log.n_users)[places.users]
    return Ragged.from_lengths(lengths, log.histories.values[kept])


def twins(log: Interactions, of_items: Codes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of items of different domains that nearly the same users took: most likely one thing under two ids.

    Returns the places of the first and the second of each pair, in order. of_items: (N,) the domain of each item. For
    whoever took both, at least 0.8 of the other users of either did. Pairs are found by the least of their users under
    8 random orders, as in Broder, On the resemblance of documents, 1997, and then counted; one in 400,000 is missed.
    Where more than a thousand items have one least user, such as a crawler who took all of them, these aren't compared
    in that order.
    """
    users, items = log.flat()[0], log.histories.flat()[1]
    taken = pl.DataFrame({"item": items, "user": users}).unique()
    counts = np.bincount(taken["item"].to_numpy(), minlength=log.n_items)
    frame = pl.DataFrame({"item": np.arange(log.n_items), "domain": of_items, "users": counts})
    found = []
    for seed in range(ORDERS):
        least = np.full(log.n_items, log.n_users)
        np.minimum.at(least, items, np.random.default_rng(seed).permutation(log.n_users)[users])
        one = frame.with_columns(least=least).filter(pl.col("users") > 1)
        one = one.filter(pl.len().over("least") <= ALIKE)
        alike = one.join(one, on="least", suffix="_2").filter(pl.col("item") < pl.col("item_2"))
        near = pl.min_horizontal("users", "users_2") >= TWINS * pl.max_horizontal("users", "users_2")
        found.append(alike.filter(near, pl.col("domain") != pl.col("domain_2")).drop("least"))
    pairs = pl.concat(found).unique()
    taken = taken.cast({"item": pl.Int64})
    both = (
        pairs.join(taken, on="item").join(taken, left_on=["item_2", "user"], right_on=["item", "user"], how="semi")
        .group_by("item", "item_2", "users", "users_2").agg(both=pl.len().cast(pl.Int64) - 1)
    )  # fmt: skip
    share = pl.col("both") / (pl.col("users") + pl.col("users_2") - pl.col("both") - 2)
    same = both.filter((pl.col("both") > 0) & (share >= TWINS)).sort("item", "item_2")
    return same["item"].to_numpy(), same["item_2"].to_numpy()


def twins_in_test(prepared: Prepared) -> tuple[int, int]:
    """How many test targets have a twin that the user took in another domain's training part, and of how many.

    Then finding the target takes no knowledge of taste.
    """
    whole, places = prepared.whole, prepared.places
    assert whole is not None  # it is one domain of several
    assert places is not None
    assert whole.dataset.domains is not None
    users, at = whole.split.log.flat()
    of_items = whole.dataset.domains.of_items
    rows = pl.DataFrame(
        {"user": users, "item": whole.split.log.histories.values[at].astype(np.int64), "part": whole.split.part[at]}
    )
    test = rows.filter((pl.col("part") == TEST) & pl.Series(of_items[rows["item"].to_numpy()] == places.code))
    one, two = twins(whole.split.log, of_items)
    pairs = pl.DataFrame({"item": np.concatenate([one, two]), "twin": np.concatenate([two, one])})
    train = rows.filter(pl.col("part") == TRAIN)
    found = test.join(pairs, on="item").join(train, left_on=["twin", "user"], right_on=["item", "user"], how="semi")
    return found.select("user", "item").unique().height, test.height


def _of(log: Interactions, kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of the interactions, in the order of `flat`, are with the items that are kept."""
    return kept[log.histories.flat()[1]]


def _narrowed(log: Interactions, kept: NDArray[np.bool_]) -> tuple[NDArray[np.int64], Interactions]:
    """The interactions with some items, as a log of the same users and items, and where they are in the whole one."""
    users, positions = log.flat()
    which = _of(log, kept)
    positions = positions[which]
    return positions, log.at(positions, np.bincount(users[which], minlength=log.n_users).astype(np.int64))


def _cut_out(whole: Split, places: Places, kept: NDArray[np.bool_]) -> tuple[Interactions, Codes]:
    """A domain's interactions in its own places, and their parts."""
    users, positions = whole.log.flat()
    mine = np.zeros(whole.log.n_users, np.bool_)
    mine[places.users] = True  # a user of other domains may have disliked something here
    which = _of(whole.log, kept) & mine[users]
    lengths = np.bincount(users[which], minlength=whole.log.n_users)[places.users].astype(np.int64)
    log = whole.log.at(positions[which], lengths)
    own = (np.cumsum(kept) - 1).astype(np.int32)[log.histories.values]
    log = replace(log, histories=replace(log.histories, values=own), n_items=len(places.items))
    return log, whole.part[positions[which]]
