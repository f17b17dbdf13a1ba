"""What a report shows of single users and items: lists side by side, and what teacher and student place differently."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilrec.data import Dataset, Prepared
from distilrec.rng import generator

__all__ = ["K", "disagreements", "examples"]

K = 10  # items of a list that are shown
EXAMPLES, DISAGREEMENTS = 5, 10
RECENT = 12  # items of a history that are shown

Lists = NDArray[np.int32]


def examples(prepared: Prepared, teacher: Lists, student: Lists, quality: NDArray[np.float64]) -> list[dict[str, Any]]:
    """Five users, drawn at random among those whose lists aren't both without a hit where there are enough.

    teacher, student: (Q, L), best first, -1 at the end. quality: (Q,), of both lists together.
    """
    order = generator(0, "examples").permutation(len(quality))
    order = order[np.argsort(quality[order] == 0, kind="stable")]
    # Four with a hit and one without show more than five of either.
    misses = order[quality[order] == 0][:1]
    chosen = [*order[: EXAMPLES - len(misses)], *misses][:EXAMPLES]
    return [_example(prepared, int(place), teacher[place, :K], student[place, :K]) for place in chosen]


def disagreements(prepared: Prepared, teacher: Lists, student: Lists) -> list[dict[str, Any]]:
    """The items whose share of top lists differs most between teacher and student; lists as in `examples`."""
    dataset, n_items = prepared.dataset, prepared.split.train.n_items
    shares = [_exposure(lists[:, :K], n_items) for lists in (teacher, student)]
    ranks = [_mean_ranks(lists, n_items) for lists in (teacher, student)]
    chosen = np.argsort(-np.abs(shares[0] - shares[1]), kind="stable")[:DISAGREEMENTS]
    return [
        {
            "item": str(dataset.item_ids.decode(np.array([item]))[0]),
            "title": dataset.titles(np.array([item]))[0],
            "teacher_rank": float(ranks[0][item]),
            "student_rank": float(ranks[1][item]),
            "teacher_exposure": float(shares[0][item]),
            "student_exposure": float(shares[1][item]),
        }
        for item in chosen
    ]


def _example(prepared: Prepared, place: int, teacher: Lists, student: Lists) -> dict[str, Any]:
    dataset, (queries, targets) = prepared.dataset, prepared.split.queries("test")
    history, wanted = (each[place : place + 1].flat()[1] for each in (queries.histories, targets))
    return {
        "user": str(dataset.user_ids.decode(queries.users[place : place + 1])[0]),
        "earlier": max(len(history) - RECENT, 0),
        "history": dataset.titles(history[-RECENT:]),
        "held_out": dataset.titles(wanted),
        "teacher": _listed(dataset, teacher, wanted),
        "student": _listed(dataset, student, wanted),
    }


def _listed(dataset: Dataset, items: Lists, wanted: Lists) -> list[dict[str, Any]]:
    items = items[items >= 0]
    names = zip(dataset.item_ids.decode(items), dataset.titles(items), np.isin(items, wanted), strict=True)
    return [{"item": str(item), "title": title, "hit": bool(hit)} for item, title, hit in names]


def _exposure(lists: Lists, n_items: int) -> NDArray[np.float64]:
    """(N,): share of the lists (Q, K) that hold the item."""
    return np.bincount(lists[lists >= 0], minlength=n_items) / len(lists)


def _mean_ranks(lists: Lists, n_items: int) -> NDArray[np.float64]:
    """(N,): mean place from 1; an item that isn't in a list (Q, K) has place K + 1 there."""
    rows, places = np.nonzero(lists >= 0)
    missing = lists.shape[1] + 1
    gained = np.bincount(lists[rows, places], weights=missing - (places + 1), minlength=n_items)
    ranks: NDArray[np.float64] = missing - gained / len(lists)
    return ranks
