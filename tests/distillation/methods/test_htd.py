"""Hierarchical topology distillation."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from torch.nn.functional import softmax

from distilrec.distillation.draw import gumbel
from distilrec.distillation.methods import HTD
from distilrec.distillation.methods.ftd import Entities
from distilrec.distillation.methods.htd import _Grouping
from distilrec.testing import MethodContract


class TestHTD(MethodContract):
    method = HTD(groups=4, annealing=30)
    record: ClassVar = {"kind": "factored"}
    weighed = False


class TestHTDOfSums(MethodContract):
    method = HTD(groups=4, annealing=30, entities=20, reduction="sum", weight=1e-3)
    record: ClassVar = {"kind": "factored"}
    weighed = False


class TestTopologyAlone(MethodContract):
    """The relations teach by themselves; without this the grouping could hide that they don't."""

    method = HTD(groups=4, topology=1.0)
    record: ClassVar = {"kind": "factored"}
    weighed = False


def test_temperatures_by_hand():
    """As in the public code, whose epochs count from 0: 1, 1, and from there by 1e-10 ** (1 / annealing)."""
    method = HTD(annealing=100)
    assert [method.temperature(epoch) for epoch in (1, 2)] == [1.0, 1.0]
    assert method.temperature(3) == pytest.approx(10**-0.1)
    assert method.temperature(52) == pytest.approx(1e-5)
    assert method.temperature(500) == pytest.approx(1e-10)


@pytest.fixture
def grouping():
    torch.manual_seed(0)
    return _Grouping(3, 6, 5)


@pytest.fixture
def entities():
    rng = torch.Generator().manual_seed(1)
    return Entities(torch.randn(11, 3, generator=rng, requires_grad=True), torch.randn(11, 6, generator=rng))


@pytest.mark.parametrize("temperature", [1.0, 0.05, 1e-10])
def test_leaving_negligible_shares_out_changes_nothing(grouping, entities, temperature):
    """Of each entity only the networks that count are asked; by a wrong row it would be told from another's vector."""
    noise = gumbel((11, 5), np.random.default_rng(3))
    shares = softmax((grouping.assignment(entities.teacher) + noise) / temperature, dim=1)
    every = torch.stack([network(entities.student) for network in grouping.networks], dim=1)
    expected = (shares.unsqueeze(2) * every).sum(1)
    told = grouping(entities, temperature, np.random.default_rng(3))
    torch.testing.assert_close(told, expected, rtol=1e-4, atol=1e-5)
    gradients = [torch.autograd.grad(side.sum(), entities.student, retain_graph=True)[0] for side in (told, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


def test_at_the_last_temperature_one_network_tells(grouping, entities):
    """NaN or an even mixture from a division by 1e-10; and every weight keeps a gradient, be it 0."""
    told = grouping(entities, 1e-10, np.random.default_rng(3))
    every = torch.stack([network(entities.student) for network in grouping.networks], dim=1)
    assert (told.unsqueeze(1) - every).abs().amax(2).amin(1).max().item() < 1e-5
    told.sum().backward()
    assert all(weight.grad is not None and bool(weight.grad.isfinite().all()) for weight in grouping.parameters())


def test_groups_are_those_of_the_largest_output(grouping, entities):
    groups = grouping.groups(entities.teacher)
    assert groups.tolist() == grouping.assignment(entities.teacher).argmax(1).tolist()
    assert not groups.requires_grad
