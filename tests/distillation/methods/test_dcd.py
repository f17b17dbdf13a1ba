import math
from typing import ClassVar

import pytest
import torch

from distilrec.distillation.method import Setting
from distilrec.distillation.methods import DCD
from distilrec.distillation.methods.dcd import discrepancies
from distilrec.testing import MethodContract


class TestDCD(MethodContract):
    method = DCD(pool=12, drawn=6, eps=0.5)
    record: ClassVar = {"kind": "factored"}
    weighed = False


class TestDCDOfAFullStore(MethodContract):
    """Such a store has no score of what was seen."""

    method = DCD(pool=12, drawn=6, eps=0.5)
    record: ClassVar = {"kind": "full"}
    weighed = False


class TestDCDOfUsers(MethodContract):
    method = DCD(pool=12, drawn=6, eps=0.5, item_weight=0)
    record: ClassVar = {"kind": "factored"}


def test_discrepancies_by_hand():
    """In the teacher's order; the student's ranks are 2, 0, 1. The fourth is masked, though its score is highest."""
    mask = torch.tensor([[True, True, True, False]])
    low, high = discrepancies(torch.tensor([[1.0, 3.0, 2.0, 9.0]]), mask, 0.1)
    assert low.tolist() == [pytest.approx([math.tanh(0.2), 0, 0, 0])]
    assert high.tolist() == [pytest.approx([0, math.tanh(0.1), math.tanh(0.1), 0])]


def test_a_student_of_no_opinion_errs_nowhere():
    """Ties that fall to whatever sorting makes of them would be corrections of nothing."""
    scores, mask = torch.zeros(2, 50), torch.ones(2, 50, dtype=torch.bool)
    assert all(float(side.sum()) == 0 for side in discrepancies(scores, mask, 0.1))


@pytest.mark.parametrize("kind", ["factored", "full"])
def test_no_item_is_taught_to_who_has_seen_it(kind, make_step, data):
    """All items' queries, and all that differ, are drawn; the items' vectors say which of them had a part."""
    step = make_step(kind=kind)
    step.hidden = torch.eye(16, requires_grad=True)  # query q has a score for an item in place q of its vector
    vectors = torch.randn(40, 16, generator=torch.Generator().manual_seed(3)).requires_grad_()
    step.student.item_vectors = lambda: vectors
    method = DCD(drawn=100, pool=16)
    method.term(Setting(step.student, data.train, step.labels, 0))._item_side(step).backward()
    for row, user in enumerate(step.batch.users):
        seen = data.train.histories[user : user + 1].flat()[1]
        assert bool((vectors.grad[seen, row] == 0).all())
    assert bool((vectors.grad[step.items] != 0).any(1).all())
