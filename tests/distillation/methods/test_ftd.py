"""Full topology distillation."""

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from distilrec.data import clusters, final_queries
from distilrec.distillation.method import Setting, Step
from distilrec.distillation.methods import FTD
from distilrec.distillation.methods.ftd import item_entities, query_entities
from distilrec.losses import topology
from distilrec.models import MatrixFactorizationConfig, Supervision, build
from distilrec.soft_labels import RecordConfig, record
from distilrec.testing import ClusterTeacher, MethodContract


class TestFTD(MethodContract):
    method = FTD()
    record: ClassVar = {"kind": "factored"}
    weighed = False


class TestFTDOfFewEntities(MethodContract):
    method = FTD(entities=12, others=3)
    record: ClassVar = {"kind": "factored"}
    weighed = False


class TestFTDOfSums(MethodContract):
    method = FTD(reduction="sum", weight=0.01)
    record: ClassVar = {"kind": "factored"}
    weighed = False


@pytest.fixture
def step(tmp_path):
    """Of 20 users, of whom every second was recorded, with a student that knows two items more than the teacher."""
    train = clusters(n_users=20, n_items=40, n_clusters=4, length=5).interactions
    queries, ids = final_queries(train)
    names = {"data_fingerprint": "data", "teacher_fingerprint": "clusters"}
    config = RecordConfig(kind="factored", k=5, tail=0)
    labels = record(ClusterTeacher(40, 4), queries[::2], ids[::2], tmp_path / "labels", config, seed=0, **names)
    student = build(MatrixFactorizationConfig(embedding_size=3), 20, 42, seed=0)
    (batch,) = student.batches(train, Supervision(), 20).epoch(np.random.default_rng(1))
    batch = replace(batch, items=np.append(batch.items[:-1], 41))
    rows = labels.rows(batch.query_ids)
    hidden = student.encode(batch)
    soft, ones = labels.batch(rows), torch.ones(len(rows))
    return Step(student, labels, batch, hidden, rows, soft, ones, 1, np.random.default_rng(0))


def test_entities_are_the_same_on_both_sides(step):
    """A student's vector beside the teacher's of another user or item gives a loss all the same."""
    queries, items = query_entities(step, 99), item_entities(step, 99, 0)
    recorded = step.batch.users[step.rows >= 0]
    assert (recorded % 2 == 0).all()
    torch.testing.assert_close(queries.student, step.student.users[recorded])
    torch.testing.assert_close(queries.teacher, 2 * torch.eye(4)[recorded % 4])
    known = np.unique(step.batch.items[step.batch.items < 40])
    torch.testing.assert_close(items.student, step.student.items[known])
    torch.testing.assert_close(items.teacher, 2 * torch.eye(4)[known % 4])


def test_the_loss_is_that_of_all_pairs(step):
    setting = Setting(step.student, None, step.labels, 0)
    both = query_entities(step, 99).and_(item_entities(step, 99, 0))
    loss = FTD(others=0, reduction="sum").term(setting)(step)
    torch.testing.assert_close(loss, topology(both.student, both.teacher, reduction="sum"))


def test_no_more_entities_than_asked_for(step):
    """A batch of whole histories has thousands of items."""
    assert len(query_entities(step, 4).student) == len(query_entities(step, 4).teacher) == 4
    assert len(item_entities(step, 6, 1).student) == 6
    drawn = [item_entities(step, 6, 1).teacher.argmax(1).tolist() for _ in range(20)]
    assert len({tuple(row) for row in drawn}) > 1


def test_other_items_are_drawn_from_all_that_the_teacher_knows(step):
    """Items that nobody in the batch took would never be taught, and new ones have no teacher."""
    step.batch = replace(step.batch, items=np.zeros(300, np.int64))
    assert len(item_entities(step, 99, 0).student) == 1
    assert len(item_entities(step, 99, 1).student) == 40


def test_a_batch_without_recorded_queries(step):
    """NaN from an empty mean."""
    step.rows = np.full(len(step.rows), -1)
    step.batch = replace(step.batch, items=step.batch.items[:1])
    loss = FTD(others=0).term(Setting(step.student, None, step.labels, 0))(step)
    assert loss.item() == pytest.approx(0, abs=1e-6)
