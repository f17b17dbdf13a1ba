"""Splits: values worked by hand, and properties that hold for any log."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from distilrec.data import (
    ColdItems,
    ColdUsers,
    ColumnSplit,
    GlobalTime,
    Interactions,
    LeaveLastOut,
    RandomSplit,
    Split,
    SplitConfig,
    labelled_queries,
    split,
    split_negatives,
)
from distilrec.errors import DataError
from distilrec.scoring import Ragged


def log_of(rows, times=None, n_items=50):
    flat = None if times is None else np.array([time for row in times for time in row], dtype=np.int64)
    return Interactions(Ragged.from_rows(rows), n_items, flat)


@st.composite
def logs(draw):
    rows = draw(st.lists(st.lists(st.integers(0, 9), max_size=7), min_size=1, max_size=8))
    times = [sorted(draw(st.lists(st.integers(0, 20), min_size=len(row), max_size=len(row)))) for row in rows]
    return log_of(rows, times, n_items=10)


CONFIGS = [
    LeaveLastOut(),
    GlobalTime(validation_from=7, test_from=14),
    RandomSplit(ratios=(0.5, 0.2, 0.3), seed=1),
]


@given(logs(), st.sampled_from(CONFIGS))
def test_every_interaction_has_exactly_one_part(log, config):
    """Nothing is lost, and nothing is learned and asked alike."""
    made = split(log, config)
    sizes = [len(log.select(made.part == code)) for code in (0, 1, 2)]
    assert sum(sizes) == len(log)
    assert set(np.unique(made.part)) <= {0, 1, 2}


@given(logs(), st.sampled_from(CONFIGS))
def test_parts_keep_the_order_of_time(log, config):
    """A part whose history is shuffled would still train, and mislead a sequence model."""
    made = split(log, config)
    for code in (0, 1, 2):
        part = log.select(made.part == code)
        users, positions = part.flat()
        times = part.times[positions]
        assert not ((np.diff(times) < 0) & (np.diff(users) == 0)).any()


@given(logs(), st.sampled_from(CONFIGS[:2]))
def test_splits_in_time_never_look_back(log, config):
    """A test item older than the user's history would be guessed from the future."""
    made = split(log, config)
    for user in range(log.n_users):
        begin, end = log.histories.starts[user], log.histories.stops[user]
        assert (np.diff(made.part[begin:end].astype(int)) >= 0).all()


@given(logs(), st.integers(0, 3))
def test_random_split_has_exact_shares_and_one_result_per_seed(log, seed):
    config = RandomSplit(ratios=(0.5, 0.25, 0.25), seed=seed)
    part = split(log, config).part
    assert np.array_equal(part, split(log, config).part)
    for code, share in enumerate(config.ratios):
        assert abs((part == code).sum() - share * len(log)) <= 1


def test_leave_last_out_by_hand():
    """Users with two interactions or fewer keep them all for training."""
    made = split(log_of([[4, 5, 6, 7], [1, 2], [], [3, 2, 1]]), LeaveLastOut())
    assert made.part.tolist() == [0, 0, 1, 2, 0, 0, 0, 1, 2]
    queries, targets = made.queries("test")
    assert queries.users.tolist() == [0, 3]
    assert targets.flat()[1].tolist() == [7, 1]
    assert queries.histories.flat()[1].tolist() == [4, 5, 6, 3, 2]


def test_global_time_by_hand():
    """The moments themselves belong to the later part."""
    made = split(log_of([[0, 1, 2], [3, 4]], [[1, 5, 9], [4, 5]]), GlobalTime(validation_from=5, test_from=9))
    assert made.part.tolist() == [0, 1, 2, 0, 1]


def test_global_time_quantiles_are_those_of_the_interactions():
    log = log_of([list(range(10))], [list(range(100, 110))])
    assert split(log, GlobalTime(quantiles=(0.6, 0.8))).part.tolist() == [0] * 6 + [1] * 2 + [2] * 2


def test_global_time_reads_dates_as_utc_microseconds():
    """Local time would move the boundary with the machine."""
    config = GlobalTime(validation_from=datetime(2024, 1, 1), test_from="2024-01-02T01:00:00+01:00")
    assert config.moments() == (
        int(datetime(2024, 1, 1, tzinfo=UTC).timestamp()) * 10**6,
        int(datetime(2024, 1, 2, tzinfo=UTC).timestamp()) * 10**6,
    )


def test_column_split_follows_the_column():
    part = np.array([0, 2, 1], dtype=np.uint8)
    assert split(log_of([[0, 1], [2]]), ColumnSplit(), part).part.tolist() == [0, 2, 1]


def test_split_of_a_part_of_a_log_leaves_the_rest_unused():
    """A log that shares another's arrays must not take parts for rows it doesn't have."""
    whole = log_of([[0, 1, 2, 3], [4, 5, 6]])
    some = whole.select(np.array([0, 1, 1, 1, 0, 0, 0], dtype=bool))
    assert split(some, LeaveLastOut()).part.tolist() == [3, 0, 1, 2, 3, 3, 3]


@pytest.mark.parametrize(
    ("config", "part", "says"),
    [
        (GlobalTime(), None, "needs times"),
        (ColumnSplit(), None, r"name it in columns\.part"),
        (ColumnSplit(), np.zeros(1, dtype=np.uint8), "parallel"),
    ],
)
def test_a_log_that_lacks_what_the_split_needs_is_refused(config, part, says):
    with pytest.raises(DataError, match=says):
        split(log_of([[0, 1, 2]]), config, part)


def test_quantiles_of_nothing_are_refused():
    with pytest.raises(DataError, match="empty log"):
        split(log_of([[]], [[]]), GlobalTime())


@pytest.mark.parametrize(
    "given_config",
    [
        {"kind": "leave-one-out"},
        {"kind": "random", "ratio": (1, 0, 0)},
        {"kind": "random", "ratios": (0.9, 0.2, 0.1)},
        {"kind": "random", "ratios": (1.2, -0.1, -0.1)},
        {"kind": "global-time", "quantiles": (0.9, 0.8)},
        {"kind": "global-time", "validation_from": 3},
        {"kind": "global-time", "validation_from": 3, "test_from": 3},
        {},
    ],
)
def test_unknown_and_impossible_settings_are_errors(given_config):
    with pytest.raises(ValidationError):
        TypeAdapter(SplitConfig).validate_python(given_config)


def test_negatives_follow_the_times_of_the_users_targets():
    """A dislike from after the test item, used in training, would leak the future."""
    positives = split(log_of([[0, 1, 2], [3, 4]], [[10, 20, 30], [5, 6]]), LeaveLastOut())
    negatives = log_of([[5, 6, 7, 8, 9], [5]], [[19, 20, 29, 30, 31], [99]])
    made = split_negatives(positives, negatives, LeaveLastOut())
    assert made.part.tolist() == [0, 1, 1, 2, 2, 0]


def test_negatives_share_the_moments_of_the_positives():
    """Quantiles of the negatives' own times would cut elsewhere."""
    config = GlobalTime(quantiles=(0.5, 0.75))
    positives = split(log_of([[0, 1, 2, 3]], [[1, 2, 3, 4]]), config)
    made = split_negatives(positives, log_of([[4, 5, 6]], [[0, 3, 4]]), config)
    assert made.part.tolist() == [0, 1, 2]


def test_negatives_without_times_go_by_lot_in_the_shares_of_the_positives():
    positives = split(log_of([list(range(4))] * 5), LeaveLastOut())
    made = split_negatives(positives, log_of([list(range(20))] + [[]] * 4), LeaveLastOut())
    assert np.bincount(made.part).tolist() == [10, 5, 5]


def test_random_negatives_are_seeded_and_unlike_the_positives():
    config = RandomSplit(ratios=(0.5, 0.25, 0.25), seed=3)
    log = log_of([list(range(40))])
    made = split_negatives(split(log, config), log, config)
    assert np.array_equal(made.part, split_negatives(split(log, config), log, config).part)
    assert not np.array_equal(made.part, split(log, config).part)


def test_a_column_without_validation_has_it_drawn_from_train():
    log, column = log_of([list(range(10)) for _ in range(10)]), np.tile([0, 0, 0, 0, 2], 20).astype(np.uint8)
    cut = split(log, ColumnSplit(validation=0.25), column)
    assert np.bincount(cut.part, minlength=4).tolist() == [60, 20, 20, 0]
    assert (cut.part[column == 2] == 2).all()
    other = split(log, ColumnSplit(validation=0.25, seed=1), column)
    assert (other.part != cut.part).any()
    dislikes = split_negatives(cut, log, ColumnSplit(validation=0.25), column)
    assert np.bincount(dislikes.part, minlength=4).tolist() == [60, 20, 20, 0]
    with pytest.raises(DataError, match="the part column has some"):
        split(log_of([[0, 1]]), ColumnSplit(validation=0.5), np.array([0, 1], np.uint8))


def test_negatives_of_a_column_split_follow_their_own_column():
    positives = split(log_of([[0]]), ColumnSplit(), np.array([0], dtype=np.uint8))
    made = split_negatives(positives, log_of([[1, 2]]), ColumnSplit(), np.array([2, 0], dtype=np.uint8))
    assert made.part.tolist() == [2, 0]


def test_labels_run_along_the_items_of_users_who_liked_or_disliked():
    """Labels that slip by one item, or users with dislikes only left out, would still give a smooth AUC."""
    likes = split(log_of([[0, 1, 2, 3], [4, 5], [6, 7, 8]], [[10, 20, 30, 40], [1, 2], [1, 2, 3]]), LeaveLastOut())
    dislikes = split_negatives(likes, log_of([[9, 10, 11], [12], []], [[35, 41, 42], [9], []]), LeaveLastOut())
    dislikes.part[3] = 2  # user 1 has no like in the test part
    for part, histories, items, labels in (
        ("validation", [[0, 1], [6]], [[2, 9], [7]], [True, False, True]),
        ("test", [[0, 1, 2], [4, 5], [6, 7]], [[3, 10, 11], [12], [8]], [True, False, False, False, True]),
    ):
        queries, found, known = labelled_queries(likes, dislikes, part)
        assert [queries.histories[i : i + 1].flat()[1].tolist() for i in range(len(queries))] == histories
        assert [found[i : i + 1].flat()[1].tolist() for i in range(len(found))] == items
        assert known.tolist() == labels
    assert queries.users.tolist() == [0, 1, 2]


def test_what_is_taken_again_in_training_is_not_held_out():
    """With repeats kept and a random split, a legitimate repeat would pass for leakage."""
    log = Interactions(Ragged.from_rows([[7, 3, 5, 7]]), n_items=8)
    held_out = Split(log, np.array([0, 1, 0, 2], np.uint8)).held_out
    assert held_out.histories.flat()[1].tolist() == [3]


def test_cold_items_are_in_no_history_and_warm_ones_are_left_last_out():
    """A history with an item that training never saw asks an id model about a vector that nothing has trained."""
    log = log_of([[0, 1, 2, 3, 4, 5, 6, 7], [7, 6, 5, 4, 3, 2, 1, 0], [0, 1]], n_items=10)
    found = split(log, ColdItems(share=0.5, seed=3))
    cold = np.flatnonzero(found.cold_items)
    assert len(cold) == 4
    assert 8 not in cold  # an item that nobody took can't be asked for
    in_train = set(found.train.histories.flat()[1].tolist())
    assert not in_train & set(cold.tolist())
    for part, code in (("validation", 1), ("test", 2)):
        queries, targets = found.queries(part)
        asked = []
        for n in range(len(queries)):
            user = int(queries.users[n])
            history, seen, (wanted,) = (
                rows[n : n + 1].flat()[1].tolist() for rows in (queries.histories, queries.masked, targets)
            )
            row = slice(log.histories.starts[user], log.histories.stops[user])
            taken, parts = log.histories.values[row].tolist(), found.part[row].tolist()
            place = taken.index(wanted)
            assert history == [taken[at] for at in range(place) if parts[at] < code and taken[at] not in cold]
            assert set(seen) == {item for item, of in zip(taken, parts, strict=True) if of < code}
            assert parts[place] == code
            like = [at for at in range(len(taken)) if parts[at] == code and (taken[at] in cold) == (wanted in cold)]
            assert place == like[-1]  # the last of its kind
            asked.append((user, wanted in cold))
        assert len(set(asked)) == len(asked)
        told = {(user, bool(is_cold)) for user in range(3) for is_cold in found.cold_items[
            log.histories.values[(found.part == code) & (log.flat()[0] == user)]
        ]}  # fmt: skip
        assert set(asked) == told
    assert set(found.queries("test")[0].masked.flat()[1].tolist()) & set(cold.tolist())  # those of validation
    assert np.array_equal(found.part, split(log, ColdItems(share=0.5, seed=3)).part)
    assert not np.array_equal(found.part, split(log, ColdItems(share=0.5, seed=4)).part)


def test_cold_items_by_first_appearance():
    log = log_of([[0, 1, 2], [3, 0, 1]], times=[[1, 5, 9], [2, 3, 6]])
    found = split(log, ColdItems(share=0.5, by="first-seen"))
    assert found.part.tolist() == [0, 1, 2, 0, 0, 1]  # 0 and 3 came first, then 1, then 2


@pytest.mark.parametrize(("share", "n"), [(0.05, 0), (0.99, 6)])
def test_cold_items_need_some_of_each(share, n):
    with pytest.raises(DataError, match=f"would hold out {n} of 6 items"):
        split(log_of([[0, 1, 2, 3, 4, 5]]), ColdItems(share=share))


def test_cold_users_are_asked_after_their_first_items():
    log = log_of([[n, n + 1, n + 2, n + 3, n + 4] for n in range(6)] + [[9, 8]])
    found = split(log, ColdUsers(share=0.58, after=(0, 2), targets=2))
    assert found.part[-2:].tolist() == [0, 0]  # too few to be asked after
    queries, targets = found.queries("test")
    first = int(queries.users[0])
    assert queries.users.tolist()[:2] == [first, first]
    assert queries.histories.lengths.tolist() == [0, 2] * 2
    assert targets[:2].flat()[1].tolist() == [first, first + 1, first + 2, first + 3]
    assert queries.histories[1:2].flat()[1].tolist() == [first, first + 1]
    assert (found.train.histories.lengths[queries.users] == 0).all()
    assert not set(queries.users.tolist()) & set(found.queries("validation")[0].users.tolist())


def test_cold_users_need_long_enough_histories():
    with pytest.raises(DataError, match="2 of 4 users, of whom 0 took at least 20 items"):
        split(log_of([[0, 1, 2]] * 4), ColdUsers(share=0.5))
    with pytest.raises(ValidationError, match="after must ascend"):
        ColdUsers(after=(3, 1))


def test_dislikes_go_with_neither():
    log = log_of([[0, 1, 2, 3, 4, 5]] * 4)
    with pytest.raises(DataError, match="can't hold out dislikes"):
        split_negatives(split(log, ColdItems(share=0.5)), log, ColdItems())
