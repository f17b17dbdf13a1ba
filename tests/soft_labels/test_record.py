import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from distilrec.errors import SoftLabelError
from distilrec.scoring import Queries, Ragged
from distilrec.soft_labels import RecordConfig, SoftLabels, forecast, record

OPTIONS = {"seed": 3, "data_fingerprint": "data", "teacher_fingerprint": "teacher"}


def contents(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("settings", [{}, {"kind": "factored"}, {"kind": "full"}, {"dtype": "float32", "hidden": True}])
def test_the_forecast_is_exact(recorded, factored, settings):
    """A forecast that is too low fills the disk after hours."""
    labels = recorded(factored, **settings)
    config = RecordConfig(**{"k": 5, "tail": 6, "shard_rows": 16, **settings})
    assert forecast(config, 50, 30, 4) == labels.summary()["bytes"]


def test_factors_that_are_being_trained_can_be_recorded(recorded, factored):
    """A model's item vectors are its weights, which want gradients."""
    expected = recorded(factored, kind="factored", name="plain").item_vectors
    factored.items, factored.bias = factored.items.requires_grad_(), factored.bias.requires_grad_()
    assert (recorded(factored, kind="factored").item_vectors == expected).all()


def test_a_full_disk_is_refused_before_the_start(recorded, monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(SoftLabelError, match=r"0\.00 GB free"):
        recorded()
    assert list((tmp_path / "store").iterdir()) == []


class Failing:
    """A teacher whose process dies at the n-th question."""

    def __init__(self, teacher, after):
        self.teacher, self.after = teacher, after
        self.n_items, self.scores_are_logits = teacher.n_items, teacher.scores_are_logits

    def score(self, queries):
        self.after -= 1
        if self.after < 0:
            raise KeyboardInterrupt
        return self.teacher.score(queries)


@pytest.mark.parametrize("after", range(5))
def test_an_interrupted_recording_goes_on_to_the_same_bytes(recorded, teacher, after, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        recorded(Failing(teacher, after), name="broken")
    done = []
    recorded(name="broken", progress=lambda rows, total: done.append((rows, total)))
    recorded(name="whole")
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")
    assert done == [(16, 50), (32, 50), (48, 50), (50, 50)]


def test_finished_shards_are_not_recorded_again(recorded, teacher):
    """The audition asks once, then each of four shards."""
    with pytest.raises(KeyboardInterrupt):
        recorded(Failing(teacher, 3))
    rest = Failing(teacher, 3)
    recorded(rest)
    assert rest.after == 0


def test_a_finished_store_is_opened(recorded, teacher):
    first = recorded()
    again = recorded(Failing(teacher, 0))
    assert again.manifest == first.manifest


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"k": 6}, "config was"), ({"kind": "full"}, "config was"), ({"temperatures": (1.0,)}, "config was")],
)
def test_another_recording_in_the_folder_is_refused(recorded, settings, message):
    """Shards of two recordings in one folder would be read as one."""
    recorded()
    with pytest.raises(SoftLabelError, match=message):
        recorded(**settings)


@pytest.mark.parametrize("option", ["data_fingerprint", "teacher_fingerprint", "seed"])
def test_other_data_or_another_teacher_is_refused(recorded, teacher, queries, ids, option):
    store = recorded()
    config = RecordConfig(k=5, tail=6, shard_rows=16)
    with pytest.raises(SoftLabelError, match=f"{option} was"):
        record(
            teacher,
            queries,
            ids,
            store.path,
            config,
            **{**OPTIONS, option: 9 if option == "seed" else "other"},
        )
    with pytest.raises(SoftLabelError, match="queries was"):
        record(teacher, queries, ids + 1, store.path, config, **OPTIONS)


def test_a_folder_with_other_things_is_left_alone(recorded, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "thesis.docx").touch()
    with pytest.raises(SoftLabelError, match=r"thesis\.docx"):
        recorded()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_tails(recorded, teacher, queries, ids, tmp_path):
    first = recorded()
    config = RecordConfig(k=5, tail=6, shard_rows=16)
    other = record(teacher, queries, ids, tmp_path / "other", config, **{**OPTIONS, "seed": 4})
    rows = np.arange(50)
    assert torch.equal(first.batch(rows).items, other.batch(rows).items)
    assert not torch.equal(first.batch(rows).tail_items, other.batch(rows).tail_items)


def test_the_teachers_scores_are_left_as_they_were(recorded, teacher):
    """Masking in place would blank out a teacher that returns its own table."""
    before = teacher.scores.clone()
    recorded()
    assert torch.equal(teacher.scores, before)


def test_what_is_masked_may_be_more_than_the_history(recorded, teacher, queries, ids):
    """Prefix queries read a window, but all earlier items are masked."""
    masked = Ragged.from_rows([[user % 30, (user + 1) % 30] for user in range(50)])
    labels = recorded(asked=Queries(queries.users, queries.histories, masked), k=28, tail=0)
    batch = labels.batch(labels.rows(ids))
    users = torch.arange(50).unsqueeze(1)
    assert not (batch.items == users % 30).any()
    assert not (batch.items == (users + 1) % 30).any()


def test_more_than_there_is_may_be_asked_for(recorded):
    labels = recorded(k=1000, tail=1000)
    assert (labels.manifest.k, labels.manifest.tail) == (30, 0)


def test_ids_and_temperature_are_in_the_store(recorded, queries, ids):
    targets = Ragged.from_rows([[user % 30] for user in range(50)])
    labels = recorded(validation=(queries, targets))
    assert labels.manifest.temperature_fitted
    assert labels.temperature > 0
    grid = tuple(labels.temperature * multiple for multiple in (0.5, 1.0, 2.0, 4.0, 8.0))
    assert labels.manifest.temperatures == grid
    assert (np.diff(labels.query_ids) > 0).all()
    assert set(labels.query_ids) == set(ids)
    assert SoftLabels.open(labels.path).temperature == labels.temperature
    unfitted = recorded(name="unfitted")
    assert (unfitted.temperature, unfitted.manifest.temperature_fitted) == (1.0, False)


@pytest.mark.parametrize(
    "setting",
    [{"k": 0}, {"tail": -1}, {"kind": "all"}, {"dtype": "int8"}, {"temperatures": (0.0,)}, {"topk": 5}],
)
def test_settings_that_make_no_sense_are_refused(setting):
    with pytest.raises(ValidationError):
        RecordConfig(**setting)


@pytest.mark.parametrize("kind", ["topk", "full"])
def test_items_that_are_left_out_are_told_of_nowhere(recorded, teacher, queries, seen, kind):
    """As if the teacher didn't know them: no list, no sample, no share of the log-sum-exp."""
    left_out = np.zeros(30, np.bool_)
    left_out[[3, 11, 29]] = True
    labels = recorded(left_out=left_out, kind=kind, dtype="float32")
    columns = labels.arrays(labels.rows(labels.query_ids))
    if kind == "topk":
        for name in ("items", "tail_items"):
            assert not np.isin(columns[name], [3, 11, 29]).any()
    else:
        assert np.isneginf(columns["scores"][:, left_out]).all()
    order = np.argsort(labels.query_ids)
    users = np.argsort(np.random.default_rng(1).permutation(50), kind="stable")
    scores = teacher.scores.masked_fill(seen, -torch.inf)
    scores[:, torch.from_numpy(left_out)] = -torch.inf
    expected = scores.logsumexp(1)[torch.from_numpy(users)]
    np.testing.assert_allclose(
        columns["log_sum_exp"][order, RecordConfig().temperatures.index(1.0)], expected, rtol=1e-5
    )


def test_other_items_left_out_make_another_recording(recorded):
    left_out = np.arange(30) < 3
    recorded(left_out=left_out)
    with pytest.raises(SoftLabelError, match="left_out was"):
        recorded(left_out=~left_out)
    for wrong in (left_out[:-1], np.ones(30, np.bool_), left_out.astype(np.int64)):
        with pytest.raises(SoftLabelError, match="give a bool for each of the teacher's 30 items"):
            recorded(left_out=wrong, name="other")
