import math
from typing import ClassVar

import pytest
import torch

from distilrec.distillation.method import Setting
from distilrec.distillation.methods import RCEKD
from distilrec.distillation.methods.rce_kd import overlap_weight, pool_weights
from distilrec.testing import MethodContract


class TestRCEKD(MethodContract):
    method = RCEKD(items=7, drawn=7, pool=20)
    record: ClassVar = {"kind": "factored"}


class TestRCEKDOfAFullStore(MethodContract):
    """Such a store holds items in their own order, and has no score of what was seen."""

    method = RCEKD(items=7, drawn=7, pool=20)
    record: ClassVar = {"kind": "full"}


def test_pool_weights_by_hand():
    """Of the teacher's items 5, 3 and 8 the pool holds 3 and 5: m is 2, 2, 1, 1, 0 from its first place on."""
    pool = torch.tensor([[7, 3, 9, 5, 1]])
    weights = pool_weights(pool, torch.tensor([[5, 3, 8, -1]]), 10.0)
    assert weights.tolist() == [pytest.approx([1.0, 1.0, math.exp(-0.1), math.exp(-0.1), math.exp(-0.2)])]


def test_places_of_no_item_are_found_nowhere():
    """The item 0 stands where the list has ended."""
    assert pool_weights(torch.tensor([[0, 1]]), torch.tensor([[-1, -1]]), 1.0).tolist() == [[1.0, 1.0]]


def test_the_more_the_lists_overlap_the_more_the_students_own_counts():
    was_drawn = torch.tensor([[True, False, False], [True, True, False], [False, False, False]])
    mask = torch.tensor([[True, True, False], [True, True, False], [False, False, False]])
    assert overlap_weight(was_drawn, mask, 3.0).tolist() == pytest.approx([math.exp(-1.5), math.exp(-3), 1.0])


def test_one_query_at_a_time(make_step, data):
    """Of a pool that is drawn as a whole nothing is left to chance, and plain Python says what the loss is."""
    step = make_step(kind="factored", k=8)
    method = RCEKD(items=8, drawn=12, pool=12, beta=0.7)
    scores = step.hidden @ step.item_vectors.T + step.student.item_bias()
    expected = []
    for row, user in enumerate(step.batch.users):
        seen = set(data.train.histories[user : user + 1].flat()[1].tolist())
        pool = [item for item in scores[row].argsort(descending=True).tolist() if item not in seen][:12]
        teacher = step.labels.scores(step.rows[row : row + 1], torch.arange(40).unsqueeze(0).numpy())[0]
        taught = step.soft.items[row].tolist()
        both = pool + [item for item in taught if item not in pool]
        losses = [
            -(teacher[items].softmax(0) * scores[row, items].log_softmax(0)).sum().item() for items in (pool[:8], both)
        ]
        w = math.exp(-0.7 * len(set(taught) & set(pool)) / 8)
        expected.append((1 - w) * losses[0] + w * losses[1])
    loss = method.term(Setting(step.student, data.train, step.labels, 0))(step)
    assert loss.item() == pytest.approx(sum(expected) / len(expected), rel=1e-5)
