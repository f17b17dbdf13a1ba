"""What a later run knows of an earlier one's data: numbering, what is new, and what may not be tested on."""

import numpy as np
import polars as pl
import pytest

from distilrec.data import Columns, LeaveLastOut, Preparation, RandomSplit, Snapshot, from_dataframe
from distilrec.errors import ArtefactError, DataError

COLUMNS = Columns(user="user", item="item", time="time")


def prepared(rows, since=None, **preparation):
    """rows: (user, item, time)."""
    frame = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    return from_dataframe(frame, COLUMNS, preparation=Preparation(**preparation), since=since)


YESTERDAY = [("b", 5, 1), ("b", 7, 2), ("b", 6, 3), ("d", 9, 1), ("d", 5, 2)]


def test_known_ids_keep_their_places_and_new_ones_come_after():
    """Sorted anew, item 4 would take the place, and so the vector, of item 5."""
    first = prepared(YESTERDAY)
    today = prepared([*YESTERDAY, ("a", 4, 4), ("c", 6, 5)], Snapshot.of(first))
    assert today.dataset.user_ids.values.to_list() == ["b", "d", "a", "c"]
    assert today.dataset.item_ids.values.to_list() == [5, 6, 7, 9, 4]
    rows = today.dataset.interactions.histories
    assert [rows[u : u + 1].flat()[1].tolist() for u in range(4)] == [[0, 2, 1], [3, 0], [4], [1]]


def test_what_has_vanished_keeps_its_place():
    today = prepared(YESTERDAY[:3], Snapshot.of(prepared(YESTERDAY)))
    assert today.dataset.interactions.histories.lengths.tolist() == [3, 0]
    assert today.dataset.interactions.item_counts().tolist() == [1, 1, 1, 0]


def test_new_interactions_are_told_from_repeated_ones():
    """The second of two equal rows is new where there was one before."""
    snapshot = Snapshot.of(prepared([("a", 1, 1), ("a", 1, 1), ("a", 2, 1)], repeats="keep"))
    rows = [("a", 1, 1), ("a", 1, 1), ("a", 1, 1), ("a", 2, 2)]
    today = prepared(rows, snapshot, repeats="keep")
    assert today.earlier.tolist() == [0, 1, 3, 3]


def test_a_log_that_grows_tests_what_is_new():
    """User d was too short to be tested, so the earlier run learned from item 5, which would be validation now."""
    yesterday = prepared(YESTERDAY)
    assert yesterday.split.part.tolist() == [0, 1, 2, 0, 0]
    today = prepared([*YESTERDAY, ("b", 9, 4), ("d", 6, 5)], Snapshot.of(yesterday))
    assert today.split.part.tolist() == [0, 0, 1, 2, 0, 0, 2]
    assert today.dataset.notes[-1].startswith("1 interactions stay in the part")


@pytest.mark.parametrize("kind", [RandomSplit(seed=1), LeaveLastOut()])
def test_what_the_earlier_run_learned_from_is_never_held_out(kind):
    """A lot drawn anew, or a row that was deleted, would test the old teacher on what it was trained on."""
    rng = np.random.default_rng(0)
    rows = [(f"u{u}", int(item), n) for u in range(30) for n, item in enumerate(rng.permutation(50)[:9])]
    snapshot = Snapshot.of(prepared(rows, split=kind))
    later = [(f"u{u}", 50 + n, 20 + n) for u in range(0, 30, 3) for n in range(3)]
    today = prepared([row for row in rows if row[2] != 8] + later, snapshot, split=kind)
    known = today.earlier < 3
    assert (today.split.part[known] <= today.earlier[known]).all()
    assert (today.split.part[today.earlier == 0] == 0).all()
    assert (today.split.part == 2).any()
    assert "stay in the part" in today.dataset.notes[-1]


def test_dislikes_that_were_learned_from_stay_training():
    rows = [(u, i, float(1 + 4 * (i % 2)), u * 10 + i) for u in range(20) for i in range(10)]
    frame = pl.DataFrame(rows, schema=["user", "item", "rating", "time"], orient="row")
    columns = Columns(user="user", item="item", rating="rating", time="time")
    preparation = Preparation(like_threshold=3, split=RandomSplit(seed=0))
    first = from_dataframe(frame[:150], columns, preparation=preparation)
    snapshot = Snapshot.of(first)
    today = from_dataframe(frame, columns, preparation=preparation, since=snapshot)
    before = snapshot.parts(today.negatives_split.log, liked=False)
    assert (before == 0).sum() == (first.negatives_split.part == 0).sum()
    assert (today.negatives_split.part[before == 0] == 0).all()


def test_a_snapshot_survives_the_round_trip_and_says_when_it_is_damaged(tmp_path):
    snapshot = Snapshot.of(prepared(YESTERDAY))
    snapshot.save(tmp_path)
    again = Snapshot.open(tmp_path)
    assert again.log.equals(snapshot.log)
    assert again.item_ids.values.equals(snapshot.item_ids.values)
    path = tmp_path / "log.parquet"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ArtefactError, match="data of the earlier run"):
        Snapshot.open(tmp_path)


def test_ids_of_another_type_are_refused():
    """Cast to null, every item would be a new one."""
    with pytest.raises(DataError, match=r"items have ids of type String, and had Int64"):
        prepared([(u, str(i), t) for u, i, t in YESTERDAY], Snapshot.of(prepared(YESTERDAY)))


def test_the_last_of_several_times_is_the_same_interaction():
    """Where the last repeat is kept, what training knew would be tested on because it was taken once more."""
    snapshot = Snapshot.of(prepared(YESTERDAY, repeats="last"))
    today = prepared([*YESTERDAY, ("b", 5, 9)], snapshot, repeats="last")
    rows = today.dataset.interactions.histories
    places = [today.dataset.item_ids.values[int(item)] for item in rows[0:1].flat()[1]]
    assert places == [7, 6, 5]
    assert 3 not in today.earlier.tolist()
    assert today.split.part[2] == 0


def test_a_log_written_in_another_way_is_refused():
    """In another unit of time all of it would be new, and nothing kept out of test."""
    snapshot, later = Snapshot.of(prepared(YESTERDAY)), [(user, item, 1000 * time) for user, item, time in YESTERDAY]
    assert (prepared(later, snapshot).earlier < 3).all()  # of each user and item there is one, whenever it was
    with pytest.raises(DataError, match="none of the earlier run's 5 interactions is found again by user, item, time"):
        prepared(later, snapshot, repeats="keep")
