"""A student that is the teacher already has nothing to learn from the methods that correct its errors."""

import pytest

from distilrec.data import final_queries
from distilrec.distillation.method import Setting
from distilrec.distillation.methods import CD, DCD, RCEKD, RD
from distilrec.soft_labels import RecordConfig, record

METHODS = [
    CD(temperature=1),
    RCEKD(items=8, drawn=8, pool=20),
    DCD(pool=20, item_weight=0),
    DCD(pool=20),
    RD(items=10, warmup=0),
]


@pytest.fixture
def gradient(data, make_step, tmp_path):
    """Of the student's vectors, in the first step; `moved` turns the student away from its teacher before."""

    def make(method, moved):
        model = make_step().student.requires_grad_(False)
        labels = record(
            model, *final_queries(data.train), tmp_path / "store",
            RecordConfig(kind="factored", k=20, tail=0, dtype="float32"),
            seed=0, data_fingerprint="data", teacher_fingerprint="student",
        )  # fmt: skip
        if moved:
            next(model.parameters()).mul_(-1)
        step = make_step(labels, model=model.requires_grad_(True))
        method.term(Setting(model, data.train, labels, 0))(step).backward()
        return max(float(p.grad.abs().max()) for p in model.parameters() if p.grad is not None)

    return make


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_only_errors_have_gradients(method, gradient):
    """Ranks, lists or scores that belong to other items or queries would show as errors of a perfect student."""
    assert gradient(method, moved=False) < 1e-5


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_errors_have_gradients(method, gradient):
    assert gradient(method, moved=True) > 1e-3
