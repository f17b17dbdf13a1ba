from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilrec.data import (
    Interactions,
    LeaveLastOut,
    PairBatches,
    RandomSplit,
    SequenceBatches,
    UserBatches,
    final_queries,
    prefix_queries,
    split,
)
from distilrec.scoring import Ragged

N_ITEMS = 9
histories = st.lists(st.lists(st.integers(0, N_ITEMS - 1), max_size=9), min_size=1, max_size=6)
splits = st.sampled_from([LeaveLastOut(), RandomSplit(ratios=(0.6, 0.2, 0.2))])


def training(rows, kind=None):
    """A log, or the training part of one, which may reach over held-out interactions."""
    log = Interactions(Ragged.from_rows(rows), N_ITEMS)
    return log if kind is None else split(log, kind).train


def rows_of(ragged):
    return [ragged[n : n + 1].flat()[1].tolist() for n in range(len(ragged))]


def epoch(batches, seed=0):
    return list(batches.epoch(np.random.default_rng(seed)))


def targets(batch):
    """(query id, item) of each target."""
    return list(zip(batch.query_ids[batch.rows].tolist(), batch.items.tolist(), strict=True))


def read(batch):
    """What a model reads at each query: its window up to its place."""
    width = batch.histories.shape[1]
    return [batch.histories[place // width, : place % width + 1].tolist() for place in batch.places.tolist()]


@given(rows=histories, kind=splits, length=st.integers(1, 4), size=st.integers(1, 3), seed=st.integers(0, 99))
def test_each_interaction_but_the_first_is_a_target_once_per_epoch(rows, kind, length, size, seed):
    """An interaction at the edge of two windows is easily left out, or learned twice."""
    train = training(rows, kind)
    found = [target for batch in epoch(SequenceBatches(train, length, size), seed) for target in targets(batch)]
    positions = train.flat()[1]
    first = np.isin(positions, train.histories.starts[train.histories.lengths > 0])
    expected = [(p, train.histories.values[p]) for p in positions[~first]]
    assert sorted(found) == sorted(expected)


@given(rows=histories, kind=splits, length=st.integers(1, 4), size=st.integers(1, 3))
def test_recorded_histories_are_those_that_the_student_reads(rows, kind, length, size):
    """A soft label found under its number, but recorded for another history, teaches the wrong thing."""
    train = training(rows, kind)
    queries, ids = prefix_queries(train, length)
    recorded = dict(zip(ids.tolist(), rows_of(queries.histories), strict=True))
    assert len(recorded) == len(ids)
    trained = {}
    for batch in epoch(SequenceBatches(train, length, size)):
        assert len(batch.query_ids) == len(batch.places)
        trained |= dict(zip(batch.query_ids.tolist(), read(batch), strict=True))
    assert trained == recorded


@given(rows=histories, kind=splits, length=st.integers(1, 4))
def test_recorded_queries_mask_the_past_and_nothing_else(rows, kind, length):
    """A window that forgets the user's earlier items would have the teacher recommend them again."""
    train = training(rows, kind)
    whole = rows_of(train.histories)
    queries, ids = prefix_queries(train, length)
    for user, masked, number in zip(queries.users, rows_of(queries.masked), ids, strict=True):
        after = number - train.histories.starts[user]
        end = number >= len(train.histories.values)
        assert masked == (whole[user] if end else whole[user][:after])


@given(rows=histories, kind=splits, length=st.integers(1, 4))
def test_the_last_prefix_and_the_final_query_share_their_number(rows, kind, length):
    """Models of either kind then find what was recorded at the end of training."""
    train = training(rows, kind)
    final, final_ids = final_queries(train)
    _, prefix_ids = prefix_queries(train, length)
    assert set(final_ids) <= set(prefix_ids)
    assert rows_of(final.histories) == [row for row in rows_of(train.histories) if row]
    for batches in (UserBatches(train, 2), PairBatches(train, 2)):
        asked = {i for batch in epoch(batches) for i in batch.query_ids.tolist()}
        assert asked == set(final_ids.tolist())


@given(rows=histories, kind=splits, length=st.integers(1, 4), size=st.integers(1, 3))
def test_no_history_holds_its_own_target(rows, kind, length, size):
    """Distinct items make a leak visible: what is read, and what is to be found, never meet."""
    train = training(rows, kind)
    distinct = Interactions(
        Ragged(train.histories.starts, train.histories.stops, np.arange(len(train.histories.values), dtype=np.int32)),
        len(train.histories.values),
    )
    for batch in epoch(SequenceBatches(distinct, length, size)):
        histories = read(batch)
        for row, item in zip(batch.rows, batch.items, strict=True):
            assert item == histories[row][-1] + 1  # the very next interaction, and so no item before it


@given(rows=histories, size=st.integers(1, 4))
def test_models_with_user_vectors_see_each_interaction_once(rows, size):
    train = training(rows)
    expected = Counter((user, item) for user, row in enumerate(rows) for item in row)
    for batches in (UserBatches(train, size), PairBatches(train, size)):
        seen = Counter()
        for batch in epoch(batches):
            assert batch.histories is None
            seen.update(zip(batch.users[batch.places[batch.rows]].tolist(), batch.items.tolist(), strict=True))
        assert seen == expected


@pytest.mark.parametrize("kind", [UserBatches, PairBatches])
def test_recency_weights_by_hand(kind):
    """Counted from the wrong end, the oldest interaction would weigh most."""
    log = Interactions(Ragged.from_rows([[1, 2, 3], [4]]), 5, weights=np.array([1, 1, 2, 3], dtype=np.float32))
    found = {}
    for batch in epoch(kind(log, 2, recency_half_life=1.0)):
        found |= dict(zip(batch.items.tolist(), batch.weights.tolist(), strict=True))
    assert found == {1: 0.25, 2: 0.5, 3: 2.0, 4: 3.0}


def test_recency_weights_of_windows_count_from_the_end_of_the_history():
    log = Interactions(Ragged.from_rows([[1, 2, 3, 4]]), 5)
    (batch,) = epoch(SequenceBatches(log, 2, 4, recency_half_life=1.0))
    assert dict(zip(batch.items.tolist(), batch.weights.tolist(), strict=True)) == {2: 0.25, 3: 0.5, 4: 1.0}


def test_dislikes_belong_to_the_last_place_of_their_user():
    """Given to an earlier place, they would be known before they happened."""
    log = Interactions(Ragged.from_rows([[1, 2, 3], [], [4]]), 9)
    weights = np.array([2, 0.5, 9, 3], np.float32)
    disliked = Interactions(Ragged.from_rows([[7, 8], [6], [5]]), 9, weights=weights)
    (batch,) = epoch(SequenceBatches(log, 2, 4, disliked=disliked))
    ids, of_each = batch.query_ids[batch.disliked_rows].tolist(), batch.disliked_weights.tolist()
    assert sorted(zip(ids, batch.disliked_items.tolist(), of_each, strict=True)) == [(4, 7, 2), (4, 8, 0.5), (6, 5, 3)]
    (batch,) = epoch(UserBatches(log, 4, disliked=disliked))
    users, of_each = batch.users[batch.disliked_rows].tolist(), batch.disliked_weights.tolist()
    found = sorted(zip(users, batch.disliked_items.tolist(), of_each, strict=True))
    assert found == [(0, 7, 2), (0, 8, 0.5), (2, 5, 3)]


@given(rows=histories, length=st.integers(1, 4), size=st.integers(1, 3))
def test_targets_come_in_the_order_of_their_rows(rows, length, size):
    """The losses cut them into chunks of rows, and would lose those that are out of order."""
    train = training(rows)
    disliked = training(rows[::-1])
    for batches in (
        SequenceBatches(train, length, size, disliked=disliked),
        UserBatches(train, size, disliked=disliked),
        PairBatches(train, size, disliked=disliked),
    ):
        for batch in epoch(batches):
            assert (np.diff(batch.rows) >= 0).all()
            assert (np.diff(batch.disliked_rows) >= 0).all()


def test_the_order_follows_from_the_generator():
    log = training([[1, 2, 3, 4, 5]] * 20)
    batches = SequenceBatches(log, 2, 3)
    orders = [[batch.query_ids.tolist() for batch in epoch(batches, seed)] for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_windows_of_like_length_share_a_batch():
    """Padding costs as much as reading."""
    rng = np.random.default_rng(0)
    log = training([rng.integers(0, N_ITEMS, n).tolist() for n in rng.integers(1, 60, 300)])
    places = padded = 0
    for batch in epoch(SequenceBatches(log, 50, 16)):
        places, padded = places + len(batch.places), padded + batch.histories.size
    assert places > 0.8 * padded


def test_users_who_are_known_are_asked_for_without_a_history():
    train = Interactions(Ragged.from_rows([[0, 1], [], [], [2]]), n_items=3)
    known = np.array([False, False, True, False])
    queries, ids = final_queries(train, known)
    assert queries.users.tolist() == [0, 2, 3]
    assert queries.histories.lengths.tolist() == [2, 0, 1]
    assert ids.tolist() == [3, 5, 6]
    (batch,) = UserBatches(train, 8, known=known).epoch(np.random.default_rng(0))
    assert sorted(batch.users.tolist()) == [0, 2, 3]
    assert sorted(batch.query_ids.tolist()) == [3, 5, 6]
    assert Counter(batch.users[batch.rows].tolist()) == {0: 2, 3: 1}
