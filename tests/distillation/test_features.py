import dataclasses

import numpy as np
import pytest

from distilrec.distillation.methods import DE, PCKD, FitNet, FreqD
from tests.distillation.feature_steps import first_step, setting_of

METHODS = [FitNet(), DE(experts=3), PCKD(experts=3, pool=10), FreqD()]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_batches_without_items(data, student, labels, method):
    """Windows that end a history have queries only; a mean over nothing would be NaN, once in many thousand steps."""
    model, store = student(reads_histories=True), labels(reads_histories=True, kind="factored")
    step, none = first_step(model, data, store), np.empty(0, np.int64)
    batch = dataclasses.replace(step.batch, rows=none, items=none, weights=none.astype(np.float32))
    loss = method.term(setting_of(model, data, store))(dataclasses.replace(step, batch=batch))
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_batch_twice_as_large_costs_as_much(data, student, labels, method, dtype):
    """A sum would make the weight depend on the batch."""
    model, store = student(), labels(kind="factored", dtype=dtype)
    losses = [
        np.mean([method.term(setting_of(model, data, store))(first_step(model, data, store, size, seed=n)).item()
                 for n in range(20)])
        for size in (8, 16)
    ]  # fmt: skip
    assert losses[1] == pytest.approx(losses[0], rel=0.2)
