"""Recordings that go on from earlier ones: unchanged queries are taken over, all others are asked."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distilrec.data import Interactions, prefix_queries
from distilrec.errors import ArtefactError, SoftLabelError
from distilrec.scoring import Queries, Ragged
from distilrec.soft_labels import RecordConfig, SoftLabels, record
from distilrec.soft_labels._keys import query_keys

rows = st.lists(st.lists(st.integers(0, 3), max_size=4), min_size=1, max_size=8)


class Counted:
    """Counts the queries that a teacher is asked."""

    def __init__(self, teacher):
        self.teacher, self.asked = teacher, []
        self.n_items, self.scores_are_logits = teacher.n_items, teacher.scores_are_logits

    def score(self, queries):
        self.asked.append(queries)
        return self.teacher.score(queries)


@given(histories=rows, seen=rows)
def test_keys_are_equal_exactly_for_equal_queries(histories, seen):
    """A key that forgets order, user or mask gives a query another's labels."""
    n = min(len(histories), len(seen))
    users = np.arange(n, dtype=np.int32) % 2
    keys = query_keys(Queries(users, Ragged.from_rows(histories[:n]), Ragged.from_rows(seen[:n])))
    content = list(zip(users.tolist(), histories, seen, strict=False))
    for i in range(n):
        assert [keys[i] == keys[j] for j in range(n)] == [content[i] == content[j] for j in range(n)]


@given(histories=rows, shift=st.integers(0, 5))
def test_keys_do_not_hang_on_where_a_row_lies(histories, shift):
    plain = Ragged.from_rows(histories)
    moved = Ragged(
        plain.starts + shift, plain.stops + shift, np.concatenate([np.full(shift, 9, np.int32), plain.values])
    )
    users = np.zeros(len(plain), np.int32)
    assert np.array_equal(query_keys(Queries(users, plain)), query_keys(Queries(users, moved)))


def test_keys_of_many_prefixes_are_distinct():
    rng = np.random.default_rng(0)
    log = Interactions(Ragged.from_lengths(np.full(200, 100), rng.integers(0, 50, 20_000).astype(np.int32)), 50)
    queries, _ = prefix_queries(log, 30)
    assert len(np.unique(query_keys(queries))) == len(queries)


@pytest.fixture
def grown(queries):
    """The queries of another day: five that have a longer history, and eight of users that were unknown."""
    rows = [queries.histories[u : u + 1].flat()[1].tolist() for u in range(50)]
    for user in range(0, 50, 10):
        rows[user] = [*rows[user], 29 - len(rows[user])]
    order = np.random.default_rng(3).permutation(50)
    return Queries(order.astype(np.int32), Ragged.from_rows([rows[u] for u in order]))


def same(first, second):
    return all(np.array_equal(first[name], second[name]) for name in first if name != "query_ids")


@pytest.mark.parametrize("settings", [{}, {"dtype": "float32"}, {"kind": "full"}, {"kind": "factored"}])
def test_unchanged_queries_are_taken_over_and_others_asked(recorded, teacher, factored, grown, settings):
    who = Counted(teacher) if settings.get("kind") != "factored" else factored
    first = recorded(teacher if who is not factored else factored, **settings)
    second = recorded(who, asked=grown, name="second", since=first, **settings)
    anew = recorded(teacher if who is not factored else factored, asked=grown, name="anew", **settings)
    known = np.isin(second.query_keys, first.query_keys)
    assert known.sum() == 45
    if who is not factored:
        assert sum(len(queries) for queries in who.asked[1:]) == 5  # the first is the audition
    places = np.argsort(first.query_keys)[np.searchsorted(np.sort(first.query_keys), second.query_keys[known])]
    assert same(second.arrays(np.flatnonzero(known)), first.arrays(places))
    rows = np.arange(50)
    taken, asked = second.batch(rows), anew.batch(rows)
    assert torch.equal(taken.items, asked.items)
    torch.testing.assert_close(taken.log_sum_exp, asked.log_sum_exp)
    assert torch.allclose(taken.scores, asked.scores, atol=0.02)  # tails differ, and so does their rounding
    second.verify()


def test_the_temperature_is_kept(recorded, queries, grown):
    """Fitted anew, it would belong to other log-sum-exps than those that are taken over."""
    first = recorded(validation=(queries, Ragged.from_rows([[user % 30] for user in range(50)])))
    second = recorded(asked=grown, name="second", since=first)
    assert second.temperature == first.temperature != 1.0
    assert second.manifest.temperature_fitted


def test_an_interrupted_recording_goes_on_to_the_same_bytes(recorded, teacher, grown, tmp_path):
    first = recorded()

    class Dying(Counted):
        def score(self, queries):
            if len(self.asked) == 3:
                raise KeyboardInterrupt
            return super().score(queries)

    with pytest.raises(KeyboardInterrupt):
        recorded(Dying(teacher), asked=grown, name="broken", since=first)
    recorded(asked=grown, name="broken", since=first)
    recorded(asked=grown, name="whole", since=first)
    files = [sorted((tmp_path / name).rglob("*.*")) for name in ("broken", "whole")]
    assert [file.read_bytes() for file in files[0] if file.is_file()] == [
        f.read_bytes() for f in files[1] if f.is_file()
    ]
    with pytest.raises(SoftLabelError, match="since was"):
        recorded(asked=grown, name="whole")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 4}, "k was 5, now 4"),
        ({"filter_seen": False}, "filter_seen was True"),
        ({"temperatures": (2.0,)}, "temper"),
    ],
)
def test_rows_that_would_mean_something_else_are_refused(recorded, grown, settings, message):
    with pytest.raises(SoftLabelError, match=message):
        recorded(asked=grown, name="second", since=recorded(), **settings)


def test_another_teachers_labels_are_refused(recorded, teacher, queries, ids, tmp_path):
    first = recorded()
    config = RecordConfig(k=5, tail=6, shard_rows=16)
    options = {"seed": 3, "data_fingerprint": "data", "teacher_fingerprint": "other", "since": first}
    with pytest.raises(SoftLabelError, match="teacher was teacher, now other"):
        record(teacher, queries, ids, tmp_path / "second", config, **options)


def test_a_store_without_keys_is_read_but_not_gone_on_from(recorded, grown, ids):
    """Stores of earlier versions have none."""
    first = recorded()
    path = first.path / "manifest.json"
    content = json.loads(path.read_text())
    del content["keys"]
    content["checksums"] = {name: value for name, value in content["checksums"].items() if "query_keys" not in name}
    path.write_text(json.dumps(content))
    for file in first.path.rglob("query_keys.npy"):
        file.unlink()
    old = SoftLabels.open(first.path)
    old.verify()
    assert old.batch(old.rows(ids)).recorded.all()
    with pytest.raises(SoftLabelError, match="holds no keys of its queries"):
        recorded(asked=grown, name="second", since=old)


def test_a_damaged_store_is_named(recorded, grown):
    """Its rows would be copied into a store whose checksums then vouch for them."""
    first = recorded()
    path = first.path / "shard-00001" / "scores.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ArtefactError, match=r"shard-00001/scores\.npy: damaged"):
        recorded(asked=grown, name="second", since=first)
