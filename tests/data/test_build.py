"""From rows to a dataset: order, thresholds, repeats and k-cores, worked by hand and against plain Python."""

from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilrec.data import Columns, Preparation
from distilrec.data import build as build_module
from distilrec.data.build import build, encode, first_of_pairs
from distilrec.data.files import open_frame
from distilrec.data.typed import read_log
from distilrec.errors import DataError


def built(data, **settings_):
    frame = pl.DataFrame(data)
    return build(
        read_log(open_frame(frame), Columns(**{name: name for name in frame.columns})),
        Preparation(**settings_),
        "t",
    )


def external(dataset, log):
    """(user, item) pairs in the user's ids, in the order of the histories."""
    users, positions = log.flat()
    items = dataset.item_ids.decode(log.histories.values[positions])
    return list(zip(dataset.user_ids.decode(users), items, strict=True))


def test_histories_are_in_order_of_time_and_ties_in_order_of_the_file():
    """An unstable sort would change the last item, and so the test set, between runs."""
    dataset = built({"user": ["b", "a", "b", "b", "a"], "item": [1, 2, 3, 4, 5], "time": [7, 2, 7, 1, 1]}).dataset
    assert external(dataset, dataset.interactions) == [("a", 5), ("a", 2), ("b", 4), ("b", 1), ("b", 3)]
    assert dataset.interactions.times.tolist() == [1, 2, 1, 7, 7]


def test_without_times_the_file_gives_the_order():
    dataset = built({"user": [2, 1, 2, 1], "item": ["x", "y", "a", "b"]}).dataset
    assert external(dataset, dataset.interactions) == [(1, "y"), (1, "b"), (2, "x"), (2, "a")]
    assert dataset.interactions.times is None


def test_the_order_of_rows_does_not_change_the_fingerprint():
    data = pl.DataFrame({"user": [1, 1, 2, 3], "item": [5, 6, 5, 7], "time": [1, 2, 3, 4]})
    names = {name: name for name in data.columns}
    prints = {
        build(read_log(open_frame(frame), Columns(**names)), Preparation(), "t").dataset.fingerprint
        for frame in (data, data.reverse())
    }
    assert len(prints) == 1


def test_threshold_parts_liked_from_disliked():
    """Negatives must share the users and items of the positives, or their indices mean something else."""
    data = {"user": [1, 1, 2, 2], "item": [1, 2, 2, 3], "rating": [4.0, 3.5, 5.0, 1.0], "time": [1, 2, 3, 4]}
    dataset = built(data, like_threshold=4).dataset
    assert external(dataset, dataset.interactions) == [(1, 1), (2, 2)]
    assert external(dataset, dataset.negatives) == [(1, 2), (2, 3)]
    assert dataset.negatives.ratings.tolist() == [3.5, 1.0]
    assert dataset.negatives.n_items == dataset.interactions.n_items == 3
    dropped = built(data, like_threshold=4, use_negatives=False).dataset
    assert dropped.negatives is None
    assert dropped.item_ids.values.to_list() == [1, 2]
    assert "2 of 4 rows count as disliked; 0 are kept as negatives." in dropped.notes


def test_labels_part_liked_from_disliked():
    dataset = built({"user": [1, 1], "item": [1, 2], "label": [0, 1]}).dataset
    assert external(dataset, dataset.interactions) == [(1, 2)]
    assert external(dataset, dataset.negatives) == [(1, 1)]


def test_ratings_without_a_threshold_are_all_liked_and_the_notes_say_so():
    dataset = built({"user": [1, 1], "item": [1, 2], "rating": [1, 5]}).dataset
    assert len(dataset.interactions) == 2
    assert any("like_threshold" in note for note in dataset.notes)


@pytest.mark.parametrize(
    ("repeats", "expected"),
    [
        ("first", [(1, 1, 3), (1, 2, 4)]),
        ("last", [(1, 2, 4), (1, 1, 5)]),
        ("keep", [(1, 1, 3), (1, 2, 4), (1, 1, 5)]),
    ],
)
def test_repeats(repeats, expected):
    """A held-out item taken before is masked and can never be found."""
    dataset = built({"user": [1, 1, 1], "item": [1, 2, 1], "time": [5, 4, 3]}, repeats=repeats).dataset
    pairs = external(dataset, dataset.interactions)
    times = dataset.interactions.times.tolist()
    assert [(*pair, time) for pair, time in zip(pairs, times, strict=True)] == expected
    assert any("repeated" in note for note in dataset.notes) == (repeats != "keep")


def test_a_pair_judged_twice_is_on_one_side_only():
    """Liked and disliked at once would be a positive and a negative of the same click model."""
    data = {"user": [1, 1, 1], "item": [1, 1, 2], "rating": [5, 1, 5], "time": [1, 2, 3]}
    assert built(data, like_threshold=4).dataset.negatives is None
    changed = built(data, like_threshold=4, repeats="last").dataset
    assert external(changed, changed.negatives) == [(1, 1)]


PAIRS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=40)


@given(PAIRS, st.integers(1, 4), st.integers(1, 4))
def test_k_core_is_the_one_of_plain_python(pairs, per_user, per_item):
    """One pass of filtering leaves users and items under the minimum."""
    left = list(dict.fromkeys(pairs))
    while True:
        users, items = Counter(u for u, _ in left), Counter(i for _, i in left)
        kept = [(u, i) for u, i in left if users[u] >= per_user and items[i] >= per_item]
        if len(kept) == len(left):
            break
        left = kept
    data = {"user": [u for u, _ in pairs], "item": [i for _, i in pairs]}
    settings_ = {"min_user_interactions": per_user, "min_item_interactions": per_item}
    if not left:
        with pytest.raises(DataError, match="nothing liked is left"):
            built(data, **settings_)
        return
    dataset = built(data, **settings_).dataset
    assert sorted(external(dataset, dataset.interactions)) == sorted(left)
    assert len(dataset.user_ids) == len({u for u, _ in left})
    assert len(dataset.item_ids) == len({i for _, i in left})


def test_negatives_of_users_and_items_outside_the_core_are_dropped():
    data = {"user": [1, 1, 2, 1, 2], "item": [1, 2, 1, 3, 2], "label": [1, 1, 1, 0, 0]}
    dataset = built(data, min_user_interactions=2).dataset
    assert dataset.user_ids.values.to_list() == [1]
    assert external(dataset, dataset.negatives) == [(1, 3)]


@settings(max_examples=50)
@given(PAIRS, st.booleans(), st.integers(1, 9))
def test_first_of_pairs_in_chunks(pairs, last, chunk):
    """A chunk that ends within a user would miss the user's repeats across its border."""
    pairs = sorted(pairs, key=lambda pair: pair[0])
    users, items = (np.array(column, dtype=np.int32) for column in zip(*pairs, strict=True))
    seen = {}
    for place, pair in enumerate(pairs):
        seen[pair] = place if last else seen.get(pair, place)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build_module, "_CHUNK", chunk)
        keep = first_of_pairs(users, items, 10, last=last)
    assert np.flatnonzero(keep).tolist() == sorted(seen.values())


@given(st.lists(st.one_of(st.integers(-5, 5), st.integers(-(2**62), 2**62)), min_size=1))
def test_encode_integers_near_and_far(values):
    distinct, places = encode(pl.Series(values, dtype=pl.Int64))
    assert distinct.to_list() == sorted(set(values))
    assert distinct.gather(places).to_list() == values


@given(st.lists(st.text(max_size=3), min_size=1))
def test_encode_strings_of_any_script(values):
    distinct, places = encode(pl.Series(values, dtype=pl.String))
    assert distinct.gather(places).to_list() == values


def test_parts_follow_their_rows_through_sorting():
    """A part column left in the file's order would put other rows in test."""
    data = {
        "user": [2, 1, 1],
        "item": [1, 2, 3],
        "time": [1, 9, 3],
        "part": ["test", "valid", "train"],
        "label": [1, 1, 0],
    }
    made = built(data)
    assert made.part.tolist() == [1, 2]
    assert made.negatives_part.tolist() == [0]


@pytest.mark.parametrize(
    ("data", "settings_", "says"),
    [
        ({"user": [1], "item": [1]}, {"like_threshold": 3}, "needs a rating column"),
        ({"user": [1], "item": [1], "rating": [1], "label": [1]}, {"like_threshold": 3}, "no label column"),
        ({"user": [1], "item": [1], "rating": [1]}, {"like_threshold": 3}, "nothing liked is left"),
    ],
)
def test_impossible_preparations(data, settings_, says):
    with pytest.raises(DataError, match=says):
        built(data, **settings_)
