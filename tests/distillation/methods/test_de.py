from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from distilrec.distillation.methods import DE
from distilrec.distillation.methods.de import Experts, temperature_at
from distilrec.testing import MethodContract
from tests.distillation.feature_steps import first_step, setting_of


class TestDE(MethodContract):
    method = DE(weight=3, epochs=30)
    record: ClassVar = {"kind": "factored"}


@pytest.fixture
def experts():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Experts(6, 10, 3)


@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_one_product_is_the_sum_over_experts(experts, temperature):
    """Experts whose weights are read in another order would still learn something."""
    rng = torch.Generator().manual_seed(1)
    student, teacher, noise = (torch.randn(5, size, generator=rng) for size in (6, 10, 3))
    gate = ((experts.gate(teacher).log_softmax(1) + noise) / temperature).softmax(1)
    expected = 0
    for n in range(3):
        inside, part = nn.Linear(6, 8), slice(8 * n, 8 * n + 8)
        inside.weight.data, inside.bias.data = experts.first.weight[part].data, experts.first.bias[part].data
        expected = expected + gate[:, n : n + 1] * (inside(student).relu() @ experts.weights[part] + experts.biases[n])
    torch.testing.assert_close(experts(student, teacher, noise, temperature), expected)


def test_at_last_one_expert_is_chosen_and_by_the_gate(experts):
    """Without noise on the logits, or with the temperature elsewhere, others would be chosen, or always the same."""
    with torch.no_grad():
        experts.weights.zero_()
        experts.biases.copy_(torch.eye(3, 10))
        experts.gate.weight.zero_()
        experts.gate.bias.copy_(torch.tensor([0.2, 0.5, 0.3]).log())
        noise = torch.from_numpy(np.random.default_rng(0).gumbel(size=(20_000, 3)).astype("float32"))
        chosen = experts(torch.zeros(20_000, 6), torch.zeros(20_000, 10), noise, temperature_at(99, 50))
        soft = experts(torch.zeros(20_000, 6), torch.zeros(20_000, 10), noise, 1.0)
    assert set(chosen.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(chosen.mean(0)[:3], torch.tensor([0.2, 0.5, 0.3]), atol=0.015, rtol=0)
    assert soft[:, :3].max(1).values.mean() < 0.9


def test_gradients_stay_finite_when_cold(experts):
    """1 / 1e-10 is in the gate's gradient."""
    student = torch.randn(50, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)
    noise = torch.from_numpy(np.random.default_rng(0).gumbel(size=(50, 3)).astype("float32"))
    experts(student, torch.ones(50, 10), noise, 1e-10).square().sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in (student, *experts.parameters()))
    assert student.grad.abs().sum() > 0


def test_experts_begin_unlike_and_as_layers_of_their_own_would(experts):
    """A width that is taken for all experts together would make them start near zero; equal ones would stay equal."""
    assert experts.weights.abs().max().item() == pytest.approx(8**-0.5, rel=0.05)
    first, second = experts.weights[:8], experts.weights[8:16]
    assert (first - second).abs().max() > 0.1


def test_the_temperature_follows_the_epoch(data, student, labels):
    """A gate that never hardens, or hardens anew after an interruption, is another method."""
    model, store = student(), labels(kind="factored")
    term = DE(experts=4, epochs=10).term(setting_of(model, data, store))
    losses = [term(first_step(model, data, store, epoch=epoch)).item() for epoch in (1, 1, 2, 11, 500)]
    assert losses[0] == losses[1]
    assert losses[3] == losses[4]
    assert len(set(losses)) == 3


def test_no_more_items_than_queries(data, student, labels):
    """Experts on all items of a large batch would cost far more than the rest of the step."""
    model, store = student(), labels(kind="factored")
    step = first_step(model, data, store, batch_size=4)
    seen = []
    term = DE(experts=4).term(setting_of(model, data, store))
    term.experts["item"].register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    assert len(step.items) > 4
    term(step)
    assert seen == [4]
