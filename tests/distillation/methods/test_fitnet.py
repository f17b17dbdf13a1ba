from typing import ClassVar

import pytest
import torch

from distilrec.data import final_queries
from distilrec.distillation.methods import FitNet
from distilrec.errors import SoftLabelError
from distilrec.testing import MethodContract
from tests.distillation.feature_steps import first_step, setting_of


class TestFitNet(MethodContract):
    method = FitNet(weight=3)
    record: ClassVar = {"kind": "factored"}


class TestFitNetOfQueries(MethodContract):
    method = FitNet(sides="queries", weight=3)
    record: ClassVar = {"hidden": True}


class TestFitNetOfItems(MethodContract):
    method = FitNet(sides="items", weight=3)
    record: ClassVar = {"kind": "factored"}


def test_by_hand(data, student, labels):
    """Half the squared distance, a mean over dimensions, and over recorded queries and over items."""
    queries, ids = final_queries(data.train)
    model, store = student(), labels(queries=(queries[::3], ids[::3]), kind="factored")
    step = first_step(model, data, store)
    expected = {}
    term = FitNet().term(setting_of(model, data, store))
    recorded = torch.from_numpy(step.rows >= 0)
    assert 0 < recorded.sum() < len(recorded)
    mapped = step.hidden @ term.maps["query"].weight.T
    expected["queries"] = (mapped - step.soft.hidden)[recorded].square().mean() / 2
    items = torch.from_numpy(step.batch.items).unique()
    mapped = model.item_vectors()[items] @ term.maps["item"].weight.T
    expected["items"] = (mapped - torch.tensor(store.item_vectors)[items]).square().mean() / 2
    for sides in ("queries", "items"):
        loss = FitNet(sides=sides).term(setting_of(model, data, store))(step)
        torch.testing.assert_close(loss, expected[sides])
    torch.testing.assert_close(term(step), expected["queries"] + expected["items"])


def test_a_student_whose_linear_image_is_the_teacher_has_nothing_to_learn(data, student, labels):
    """A row that is compared with another's would cost something."""
    model, store = student(embedding_size=4), labels(kind="factored")
    turn = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(0))).Q
    term = FitNet().term(setting_of(model, data, store))
    with torch.no_grad():
        model.items.copy_(torch.tensor(store.item_vectors) @ turn)
        model.users.copy_(store.hidden(store.rows(final_queries(data.train)[1])) @ turn)
        for to_teacher in term.maps.values():
            to_teacher.weight.copy_(turn)
    assert term(first_step(model, data, store)).item() == pytest.approx(0, abs=1e-6)


def test_hidden_states_are_enough_for_queries(data, student, labels):
    """A teacher without item vectors, such as a language model, would be refused for no reason."""
    setting = setting_of(student(), data, labels(hidden=True))
    FitNet(sides="queries").check(setting)
    for sides in ("items", "both"):
        with pytest.raises(SoftLabelError, match="needs the teacher's item vectors"):
            FitNet(sides=sides).check(setting)


def test_sides_learn_alone(data, student, labels):
    """A loss of queries that moves items would teach them nothing that the teacher said."""
    model, store = student(), labels(kind="factored")
    for sides, moved, still in (("queries", model.users, model.items), ("items", model.items, model.users)):
        loss = FitNet(sides=sides).term(setting_of(model, data, store))(first_step(model, data, store))
        gradients = torch.autograd.grad(loss, [moved, still], allow_unused=True)
        assert gradients[0].abs().sum() > 0
        assert gradients[1] is None
