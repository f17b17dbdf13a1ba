import json
import shutil
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from distilrec.errors import ArtefactError, SoftLabelError
from distilrec.losses import sampled_soft_label_kl, soft_label_kl, soft_label_kl_with_tail, tail_log_sum_exp
from distilrec.scoring import Queries, Ragged
from distilrec.soft_labels import SoftLabels
from distilrec.soft_labels._encoding import _sample, decode, encode, score_scale

DTYPES = pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 2**-11), ("float32", 0.0)])


def close(given, expected, tolerance):
    """The codec's promise: the error is relative to the distance from the best score."""
    spread = expected.max() - expected.min()
    torch.testing.assert_close(given, expected, rtol=0, atol=float(tolerance * spread) + 1e-6)


@DTYPES
def test_lists_hold_the_best_unseen_items_and_their_scores(recorded, teacher, queries, ids, seen, dtype, tolerance):
    """A row that belongs to another query would still look like a soft label."""
    labels = recorded(dtype=dtype)
    batch = labels.batch(labels.rows(ids))
    scores, items = teacher.scores.masked_fill(seen, -torch.inf).topk(5)
    assert torch.equal(batch.items, items)
    assert batch.mask.all()
    assert batch.recorded.all()
    close(batch.scores, scores, tolerance)


@DTYPES
def test_tails_hold_other_unseen_items(recorded, teacher, ids, seen, dtype, tolerance):
    """A tail item that is listed, too, would be counted twice; a seen one would be taught."""
    labels = recorded(dtype=dtype)
    batch = labels.batch(labels.rows(ids))
    assert not seen.gather(1, batch.tail_items).any()
    both = torch.cat([batch.items, batch.tail_items], dim=1).sort(dim=1).values
    assert (both[:, 1:] > both[:, :-1]).all()
    close(batch.tail_scores, teacher.scores.gather(1, batch.tail_items), tolerance)
    left = 30 - seen.sum(1) - 5
    torch.testing.assert_close(batch.tail_probability, 6 / left)


def test_tails_are_uniform():
    """Each free item, and each pair of them, must be drawn equally often, or the tail sums are biased."""
    rest = torch.zeros(2, 9)
    rest[:, [0, 4, 5]] = -torch.inf
    rng = np.random.default_rng(0)
    drawn = torch.cat([_sample(rest, torch.tensor([6, 6]), 2, rng) for _ in range(3000)])
    pairs, counts = drawn.unique(dim=0, return_counts=True)
    assert pairs.tolist() == [list(pair) for pair in combinations([1, 2, 3, 6, 7, 8], 2)]
    expected = len(drawn) / 15
    assert ((counts - expected).square().sum() / expected).item() < 36  # chi-square, 14 degrees: p > 0.001


def test_queries_of_one_block_have_tails_of_their_own(table, recorded):
    """With one sample for all, most items would be in no tail at all."""
    labels = recorded(table(torch.arange(30.0).expand(50, 30)), filter_seen=False)
    tails = labels.batch(np.arange(50)).tail_items
    assert len(tails[:16].unique(dim=0)) > 8
    assert len(tails.unique()) == 25


def test_hidden_states_without_lists(recorded, factored, ids):
    """A row that wasn't recorded would have another one's state; a store without states would give an odd error."""
    labels = recorded(factored, kind="factored", dtype="float32")
    known = labels.hidden(labels.rows(ids))
    assert torch.equal(known, factored.users)
    assert torch.equal(known, labels.batch(labels.rows(ids)).hidden)
    assert labels.hidden(np.array([3, -1]))[1].tolist() == [0, 0, 0, 0]
    with pytest.raises(SoftLabelError, match="hidden: true"):
        recorded(name="other").hidden(np.array([0]))


def test_log_sum_exp_is_over_all_unseen_items(recorded, teacher, ids, seen):
    labels = recorded(temperatures=(0.5, 1.0, 2.0))
    batch = labels.batch(labels.rows(ids))
    for temperature in (0.5, 1.0, 2.0):
        expected = (teacher.scores.masked_fill(seen, -torch.inf) / temperature).logsumexp(1)
        torch.testing.assert_close(batch.log_sum_exp_at(temperature), expected)


def test_a_temperature_that_was_not_recorded_is_refused(recorded):
    """Interpolated values would give tail masses below nothing."""
    with pytest.raises(SoftLabelError, match=r"temperature 3, only at 0\.5, 1, 2, 4, 8"):
        recorded().batch(np.arange(2)).log_sum_exp_at(3.0)


def test_confidence_is_the_probability_of_the_best_item(recorded, teacher, ids, seen):
    labels = recorded(dtype="float32")
    batch = labels.batch(np.append(labels.rows(ids), -1))
    expected = teacher.scores.masked_fill(seen, -torch.inf).softmax(1).amax(1)
    torch.testing.assert_close(batch.confidence(1.0), torch.cat([expected, torch.zeros(1)]))


def test_rows_in_any_order_across_shards(recorded, teacher, ids):
    """Rows put back in the order of shards would pair each query with another's labels."""
    labels = recorded(filter_seen=False)
    users = np.random.default_rng(0).integers(0, 50, 200)
    batch = labels.batch(labels.rows(ids[users]))
    assert torch.equal(batch.items, teacher.scores[users].topk(5).indices)


def test_queries_that_were_not_recorded_are_masked(recorded, ids):
    labels = recorded(hidden=False)
    rows = labels.rows(np.array([ids[0], 8, -5, 10**9, ids[1]]))
    assert (rows >= 0).tolist() == [True, False, False, False, True]
    batch = labels.batch(rows)
    assert batch.recorded.tolist() == [True, False, False, False, True]
    assert not batch.mask[1:4].any()
    assert not batch.tail_mask[1:4].any()
    assert batch.tail_probability[1:4].tolist() == [1.0, 1.0, 1.0]
    assert soft_label_kl(torch.randn(5, 5), batch.scores, batch.mask).isfinite()


def test_no_rows_make_an_empty_batch(recorded):
    batch = recorded().batch(np.empty(0, np.int64))
    assert len(batch) == 0
    assert batch.items.shape == (0, 5)


@pytest.mark.parametrize("row", [-2, 50])
def test_rows_out_of_range_are_refused(recorded, row):
    with pytest.raises(ValueError, match="rows must lie in"):
        recorded().batch(np.array([0, row]))


@DTYPES
def test_queries_with_little_or_nothing_left(recorded, teacher, ids, dtype, tolerance):
    """Short lists are padded; nothing seen may fill them, and nothing may be NaN."""
    seen = [list(range(30)), list(range(28)), list(range(20)), []]
    asked = Queries(np.arange(4, dtype=np.int32), Ragged.from_rows(seen))
    labels = recorded(asked=asked, dtype=dtype, k=5, tail=8)
    batch = labels.batch(labels.rows(ids[:4]))
    assert batch.mask.sum(1).tolist() == [0, 2, 5, 5]
    assert batch.tail_mask.sum(1).tolist() == [0, 0, 5, 8]
    assert sorted(batch.items[1, :2].tolist()) == [28, 29]
    assert set(batch.tail_items[2, :5].tolist()) | set(batch.items[2].tolist()) == set(range(20, 30))
    torch.testing.assert_close(batch.tail_probability, torch.tensor([1.0, 1.0, 1.0, 8 / 25]))
    assert (batch.items[~batch.mask] == 0).all()
    assert batch.scores.isfinite().all()
    assert batch.tail_scores.isfinite().all()
    assert batch.log_sum_exp.isfinite().all()
    close(batch.scores[3], teacher.scores[3].topk(5).values, tolerance)


def test_the_batch_feeds_the_losses(recorded, teacher, ids, seen):
    """With K + S = N the sampled loss is that over all items; the tail as a class is less, not nothing."""
    labels = recorded(k=5, tail=25, dtype="float32")
    batch = labels.batch(labels.rows(ids))
    student = torch.randn(50, 30, generator=torch.Generator().manual_seed(9))
    expected = soft_label_kl(student, teacher.scores, ~seen, temperature=2.0)
    items, scores, mask, probability = batch.candidates()
    ours = sampled_soft_label_kl(student.gather(1, items), scores, mask, probability, temperature=2.0)
    torch.testing.assert_close(ours, expected)
    tail = tail_log_sum_exp(student.masked_fill(seen, -torch.inf), batch.items, batch.mask, temperature=2.0)
    merged = soft_label_kl_with_tail(
        student.gather(1, batch.items),
        batch.scores,
        batch.mask,
        tail,
        batch.log_sum_exp_at(2.0),
        temperature=2.0,
    )
    assert 0 < merged < expected


def test_a_batch_moves_whole(recorded):
    batch = recorded().batch(np.arange(3)).to("meta")
    assert batch.items.is_meta
    assert batch.log_sum_exp.is_meta
    assert batch.temperatures == (0.5, 1.0, 2.0, 4.0, 8.0)


# The other kinds


def test_factored_gives_the_score_of_any_item(recorded, factored, ids):
    """Lists and factors must agree, or a method would mix two teachers."""
    labels = recorded(factored, kind="factored", dtype="float32")
    rows = labels.rows(ids)
    items = np.random.default_rng(0).integers(0, 30, (50, 7))
    expected = factored.scores.gather(1, torch.from_numpy(items))
    torch.testing.assert_close(labels.scores(rows, items), expected)
    batch = labels.batch(rows)
    torch.testing.assert_close(labels.scores(rows, batch.items.numpy()), batch.scores)
    torch.testing.assert_close(batch.hidden, factored.users)
    np.testing.assert_array_equal(labels.item_vectors, factored.items.numpy())
    np.testing.assert_array_equal(labels.item_bias, factored.bias.numpy())


def test_hidden_states_of_queries_that_were_not_recorded_are_zero(recorded, factored):
    batch = recorded(factored, hidden=True).batch(np.array([-1, 0]))
    assert batch.hidden.dtype == torch.float32
    assert (batch.hidden[0] == 0).all()
    assert (batch.hidden[1] != 0).any()


@DTYPES
def test_full_holds_every_item_in_its_place(recorded, teacher, ids, seen, dtype, tolerance):
    labels = recorded(kind="full", dtype=dtype)
    rows = labels.rows(ids)
    batch = labels.batch(rows)
    assert torch.equal(batch.mask, ~seen)
    assert batch.tail_items.shape == (50, 0)
    close(batch.scores, teacher.scores.masked_fill(seen, 0.0), tolerance)
    items = np.random.default_rng(0).integers(0, 30, (50, 7))
    expected = teacher.scores.masked_fill(seen, -torch.inf).gather(1, torch.from_numpy(items))
    given = labels.scores(rows, items)
    assert torch.equal(given.isinf(), expected.isinf())
    close(given[given.isfinite()], expected[expected.isfinite()], 2 * tolerance)


def test_a_store_that_lacks_scores_says_so(recorded):
    with pytest.raises(SoftLabelError, match="record the teacher with kind 'factored' or 'full'"):
        recorded().scores(np.arange(2), np.zeros((2, 1), np.int64))


@pytest.mark.parametrize(("rows", "items"), [([0, -1], [[0], [0]]), ([0, 1], [0, 0]), ([0, 1], [[0]])])
def test_arguments_of_scores_are_checked(recorded, rows, items):
    with pytest.raises(ValueError, match="expected items"):
        recorded(kind="full").scores(np.array(rows), np.array(items))


# On disk


def test_a_damaged_file_is_named(recorded):
    """Bit rot in a store trains a student on noise."""
    labels = recorded()
    labels.verify()
    path = labels.path / "shard-00001" / "scores.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match=r"shard-00001/scores\.npy: damaged"):
        labels.verify()


def test_a_missing_file_is_named(recorded):
    labels = recorded()
    (labels.path / "shard-00002" / "items.npy").unlink()
    with pytest.raises(ArtefactError, match=r"shard-00002/items\.npy: missing"):
        labels.verify()
    with pytest.raises(ArtefactError, match=r"shard-00002/items\.npy: missing or damaged"):
        SoftLabels.open(labels.path).batch(np.arange(50))


@pytest.mark.parametrize("in_a_run", [False, True])
def test_what_to_delete_of_a_damaged_store_is_named(recorded, in_a_run):
    """Without the file that says that its stage is done, else the next run would find no store where it expects one."""
    labels = recorded()
    folder = labels.path.parent if in_a_run else labels.path
    if in_a_run:
        (folder / "stage.json").touch()
    (labels.path / "shard-00002" / "items.npy").unlink()
    with pytest.raises(ArtefactError, match=f"items.npy: missing; copy it again, or delete {folder} and record again"):
        labels.verify()
    (labels.path / "manifest.json").unlink()
    (labels.path / "recording.json").unlink()
    with pytest.raises(ArtefactError, match=f"not a store of soft labels.*delete {folder} and record again"):
        SoftLabels.open(labels.path)


def test_a_truncated_file_is_named(recorded):
    labels = recorded()
    path = labels.path / "shard-00000" / "items.npy"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ArtefactError, match=r"items\.npy"):
        SoftLabels.open(labels.path).batch(np.arange(3))


def test_an_array_of_another_shape_is_named(recorded):
    labels = recorded()
    np.save(labels.path / "shard-00000" / "items.npy", np.zeros((16, 4), np.int32))
    with pytest.raises(ArtefactError, match=r"\(16, 4\), expected int32 \(16, 5\)"):
        SoftLabels.open(labels.path).batch(np.arange(3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 2}, "format version 2"),
        ({"k": "five"}, "damaged at 'k'"),
        ({"extra": 1}, "damaged at 'extra'"),
        ({"checksums": {"../../secret.npy": "0" * 64}}, "damaged at 'checksums"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(recorded, change, message):
    path = recorded().path
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | change))
    with pytest.raises(ArtefactError, match=message):
        SoftLabels.open(path)


def test_folders_that_are_no_store_are_refused(recorded, tmp_path):
    with pytest.raises(ArtefactError, match="not a store"):
        SoftLabels.open(tmp_path)
    path = recorded().path
    (path / "manifest.json").write_text("[")
    with pytest.raises(ArtefactError, match="not a JSON object"):
        SoftLabels.open(path)
    (path / "manifest.json").unlink()
    with pytest.raises(ArtefactError, match="isn't finished"):
        SoftLabels.open(path)


def test_a_store_may_be_moved(recorded, ids, tmp_path):
    labels = recorded()
    moved = SoftLabels.open(shutil.copytree(labels.path, tmp_path / "copy"))
    assert torch.equal(moved.batch(np.arange(50)).items, labels.batch(np.arange(50)).items)


def test_summary_counts_the_bytes(recorded):
    labels = recorded()
    summary = labels.summary()
    assert summary["bytes"] == sum(file.stat().st_size for file in Path(labels.path).rglob("*.npy"))
    assert (summary["n_queries"], summary["n_shards"], summary["teacher_fingerprint"]) == (50, 4, "teacher")
    json.dumps(summary)


# 16 bits


@given(
    hnp.arrays(np.float32, (3, 8), elements=st.floats(-(2.0**100), 2.0**100, width=32)),
    st.sampled_from([1e-30, 1e-6, 1.0]),
)
def test_float16_scores_keep_their_order_and_size(scores, factor):
    """Plain float16 overflows at 65,504, and makes scores equal that differ by less than a thousandth."""
    scores = scores * np.float32(factor)
    best = scores.max(1)
    scale = score_scale(best, scores)
    back = decode(encode(scores, best, scale), best, scale)
    assert np.isfinite(back).all()
    order = np.argsort(scores, axis=1, kind="stable")
    assert (np.diff(np.take_along_axis(back, order, 1), axis=1) >= 0).all()
    distance = (best[:, None] - scores).astype(np.float64)
    bound = distance * 2.0**-11 + scale[:, None].astype(np.float64) * 2.0**-24 + np.abs(best)[:, None] * 2.0**-22
    assert (np.abs(back.astype(np.float64) - scores) <= bound).all()


def test_float16_keeps_tiny_differences_under_a_large_score():
    best = np.array([1e5], np.float32)
    scores = np.array([[1e5, 1e5 - 0.0625, 1e5 - 0.125]], np.float32)
    scale = score_scale(best, scores)
    np.testing.assert_allclose(decode(encode(scores, best, scale), best, scale), scores, rtol=1e-7)


def test_float16_of_equal_or_absent_scores():
    best = np.array([2.0, 0.0], np.float32)
    scores = np.array([[2.0, 2.0], [-np.inf, -np.inf]], np.float32)
    scale = score_scale(best, scores)
    np.testing.assert_array_equal(decode(encode(scores, best, scale), best, scale), scores)
