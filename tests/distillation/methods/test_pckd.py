from typing import ClassVar

import pytest
import torch

from distilrec.distillation.methods import PCKD
from distilrec.errors import SoftLabelError
from distilrec.testing import MethodContract
from tests.distillation.feature_steps import first_step, setting_of


class TestPCKD(MethodContract):
    method = PCKD(weight=3, experts=4, epochs=30, pool=10)
    record: ClassVar = {"kind": "factored"}


@pytest.mark.parametrize("reads_histories", [False, True], ids=["vectors", "histories"])
def test_consistency_reaches_the_experts_only(data, student, labels, reads_histories):
    """What the student would learn from it is to agree with experts that are random at first."""
    model, store = student(reads_histories), labels(reads_histories, kind="factored")
    term = PCKD(experts=4, pool=10).term(setting_of(model, data, store))
    part = term._consistency(first_step(model, data, store))
    assert part > 0
    gradients = torch.autograd.grad(part, list(model.parameters()), allow_unused=True, retain_graph=True)
    assert all(gradient is None for gradient in gradients)
    for gradient in torch.autograd.grad(part, list(term.experts.parameters())):
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 0


def test_the_weight_of_consistency(data, student, labels):
    """The same draws with and without it differ by weight times its value."""
    model, store = student(), labels(kind="factored")
    losses = {}
    for share in (0.0, 0.1, 0.3):
        term = PCKD(experts=4, pool=10, consistency=share).term(setting_of(model, data, store))
        losses[share] = term(first_step(model, data, store)).item()
    assert losses[0.3] - losses[0.0] == pytest.approx(3 * (losses[0.1] - losses[0.0]), rel=1e-4)
    assert losses[0.1] > losses[0.0]


def test_a_student_that_diverges_is_no_fault_of_the_teacher(data, student, labels):
    """An error that blames the store would be searched for in the wrong place; training names the loss that is NaN."""
    model, store = student(), labels(kind="factored")
    with torch.no_grad():
        model.items.fill_(torch.nan)
    term = PCKD(experts=4, pool=10).term(setting_of(model, data, store))
    assert term(first_step(model, data, store)).isnan()


def test_lists_must_hold_the_pool(data, student, labels):
    """From a shorter list other items would be drawn than the settings say."""
    setting = setting_of(student(), data, labels(kind="factored"))
    PCKD(pool=12).check(setting)
    with pytest.raises(SoftLabelError, match="lists of 100"):
        PCKD().check(setting)
