import math

import numpy as np
import pytest
import torch
from torch.nn.functional import softplus

from distilrec.distillation.method import Setting, Step
from distilrec.distillation.methods import DLLM2Rec
from distilrec.distillation.methods.dllm2rec import importance
from distilrec.errors import SoftLabelError
from distilrec.models import Supervision
from distilrec.testing import MethodContract

FACTORED = {"kind": "factored"}


class TestDLLM2Rec(MethodContract):
    method = DLLM2Rec(items=7)
    record = FACTORED


class TestDLLM2RecOfListsAlone(MethodContract):
    method = DLLM2Rec(items=7, embedding=0)


def step_for(student, data, labels):
    """The first step of training."""
    rng = np.random.default_rng(0)
    batch = next(iter(student.batches(data.train, Supervision(), 8).epoch(rng)))
    rows = labels.rows(batch.query_ids)
    soft, ones = labels.batch(rows), torch.ones(len(rows))
    return Step(student, labels, batch, student.encode(batch), rows, soft, ones, 1, rng)


def test_importance_by_hand():
    """Two items: e^-1 and e^-2, or shares 0.731 and 0.269; confidences 0.8 and 0.2; the student has the second."""
    logits, mask = torch.tensor([[math.log(0.8), math.log(0.2), 9.0]]), torch.tensor([[True, True, False]])
    weights = importance(logits, mask, torch.tensor([[False, True, True]]), DLLM2Rec())
    first, second = 0.3 * 0.7311 + 0.5 * 0.8, 0.3 * 0.2689 + 0.5 * 0.2 + 0.1
    torch.testing.assert_close(weights, torch.tensor([[first, second, 0.0]]) / 0.9, rtol=1e-4, atol=1e-4)


def test_importance_without_candidates_is_zero():
    weights = importance(torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bool), torch.ones(1, 2).bool(), DLLM2Rec())
    assert weights.tolist() == [[0.0, 0.0]]


def test_importance_does_not_depend_on_a_constant_of_the_teacher():
    """e^-distance without normalising over the list would."""
    logits, mask = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)), torch.ones(3, 5, dtype=torch.bool)
    common = mask & (logits > 0)
    torch.testing.assert_close(
        importance(logits + 50, mask, common, DLLM2Rec()), importance(logits, mask, common, DLLM2Rec()),
        rtol=1e-4, atol=1e-5,
    )  # fmt: skip


@pytest.mark.parametrize("reads_histories", [False, True], ids=["vectors", "histories"])
def test_it_is_its_formula(data, student, labels, reads_histories):
    """The negative term -log(1 - sigmoid(s)), the item's own weight, and the mean over queries."""
    store, model = labels(reads_histories, dtype="float32", tail=1), student(reads_histories).eval()
    method = DLLM2Rec(items=4, embedding=0)
    step = step_for(model, data, store)
    items = step.soft.items[:, :4]
    scores = step.hidden @ step.item_vectors.T + model.item_bias()
    best = scores.argsort(dim=1, descending=True)[:, :4]
    common = torch.tensor([[item in row for item in listed] for listed, row in zip(items, best, strict=True)])
    weights = importance(step.soft.scores[:, :4], step.soft.mask[:, :4], common, method)
    pairs = softplus(-scores.gather(1, items)) + softplus(scores.gather(1, step.soft.tail_items))
    expected = (weights * pairs).sum(1).mean() / 2
    torch.testing.assert_close(method.term(Setting(model, data.train, store, 0))(step), expected)


def test_the_teachers_vectors_draw_the_students(data, student, labels):
    """A projection without a gradient stays a random one; vectors without one are drawn nowhere."""
    store, model = labels(**FACTORED, dtype="float32"), student()
    step = step_for(model, data, store)
    with_vectors, without = (
        DLLM2Rec(embedding=weight).term(Setting(model, data.train, store, 0)) for weight in (0.2, 0)
    )
    with_vectors.projection.weight.data.fill_(0.5)
    with_vectors.projection.bias.data.zero_()
    state = step.rng.bit_generator.state
    left = with_vectors(step) - step_again(without, step, state)
    chosen = np.unique(step.batch.items)
    target = torch.from_numpy(store.item_vectors[chosen]).sum(1, keepdim=True) / 2
    expected = 0.2 * (model.item_vectors()[chosen] - target).square().mean() / 2
    torch.testing.assert_close(left, expected)
    for gradient in torch.autograd.grad(left, [model.items, with_vectors.projection.weight]):
        assert bool(gradient.any())


def step_again(term, step, state):
    step.rng.bit_generator.state = state
    return term(step)


def test_what_it_needs_is_missed_before_training(data, student, labels):
    """Vectors that only a part of the method reads, and items that a store need not hold."""
    model = student()
    with pytest.raises(SoftLabelError, match="item vectors"):
        DLLM2Rec().check(Setting(model, data.train, labels(), 0))
    DLLM2Rec(embedding=0).check(Setting(model, data.train, labels(), 0))
    for settings in ({"tail": 0}, {"kind": "full"}):
        with pytest.raises(SoftLabelError, match="didn't list"):
            DLLM2Rec(embedding=0).check(Setting(model, data.train, labels(**settings), 0))
