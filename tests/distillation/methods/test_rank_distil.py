from typing import ClassVar

import torch

from distilrec.distillation.method import Setting
from distilrec.distillation.methods import RankDistil
from distilrec.distillation.methods import rank_distil as module
from distilrec.soft_labels import SoftBatch
from distilrec.testing import MethodContract


class TestRankDistil(MethodContract):
    method = RankDistil(top=5)


class TestRankDistilOfAllScores(MethodContract):
    method = RankDistil(top=5)
    record: ClassVar = {"kind": "full"}


def test_the_student_is_taught_a_distribution_over_all_items(data, student, store, step):
    """A sample that counts for itself only would let the student's scores of all others grow."""
    model, labels = student(), store(tail=28)  # all that isn't listed
    term = RankDistil(top=1, permutations=4000).term(Setting(model, data.train, labels, 0))
    one = step(model, labels)
    soft = one.soft
    log_p = (one.hidden @ model.items.T + model.bias).scatter(
        1, torch.from_numpy(data.train.histories.padded(3, fill=-1)), -torch.inf
    ).log_softmax(1)  # fmt: skip
    teacher = (soft.scores / labels.temperature).softmax(1)
    torch.testing.assert_close(term(one), -(teacher * log_p.gather(1, soft.items)).sum(1).mean(), atol=0.01, rtol=0)


def test_a_smaller_sample_stands_for_as_many(data, student, store, step):
    """Weights of the sample that are turned around halve the sum that they should double."""
    model = student()
    values = []
    for tail in (28, 14):
        labels = store(tail=tail)
        term = RankDistil(top=1, permutations=500).term(Setting(model, data.train, labels, 0))
        values.append(term(step(model, labels)).item())
    assert abs(values[0] - values[1]) < 0.02


def test_towards_no_temperature_the_order_is_the_teachers_own(data, student, store, step):
    """A temperature that multiplies scores draws other orders the colder it is."""
    model, labels = student(), store()
    cold = RankDistil(top=3, permutations=1, temperature=1e-4).term(Setting(model, data.train, labels, 0))
    torch.testing.assert_close(cold(step(model, labels)), cold(step(model, labels, seed=1)))
    warm = RankDistil(top=3, permutations=1).term(Setting(model, data.train, labels, 0))
    assert abs(warm(step(model, labels)) - warm(step(model, labels, seed=1))) > 1e-3


def test_stores_of_all_scores_are_read_as_lists(data, student, store, step, monkeypatch):
    """All items in each of many permutations cost as many times the catalogue."""
    monkeypatch.setattr(module, "LISTED", 5)
    monkeypatch.setattr(module, "OTHERS", 35)
    shapes, losses, model = [], [], student()
    monkeypatch.setattr(module, "gumbel", lambda shape, rng: shapes.append(shape) or torch.zeros(shape))
    for settings in ({"kind": "topk", "k": 5, "tail": 35}, {"kind": "full"}):
        labels = store(**settings)
        losses.append(RankDistil(top=3).term(Setting(model, data.train, labels, 0))(step(model, labels)))
    torch.testing.assert_close(*losses)
    assert shapes == [(8, 16, 5)] * 2


def test_draws_are_at_the_fitted_temperature(data, student, store, step):
    """Scores as they are would be softened or sharpened by whatever scale the teacher has."""
    model, plain, fitted, losses = student(), store(), store(), []
    fitted.manifest = fitted.manifest.model_copy(update={"temperature": 3.0})
    for labels, temperature in ((plain, 3.0), (fitted, 1.0), (plain, 1.0)):
        term = RankDistil(temperature=temperature).term(Setting(model, data.train, labels, 0))
        losses.append(term(step(model, labels)).item())
    assert losses[0] == losses[1] != losses[2]


def test_rows_without_a_sample_have_gradients():
    """-inf in a log-sum-exp makes NaN of the gradient, even where the row is masked."""
    none = torch.zeros(2, 0)
    soft = SoftBatch(none, none, none, none, none, (), none, none, torch.tensor([[True, True], [False, False]]),
                     torch.tensor([0.5, 1.0]), None)  # fmt: skip
    scores = torch.zeros(2, 2, requires_grad=True)
    sums = module.others(scores, soft)
    assert sums[0].exp().item() == 4
    sums.sum().backward()
    assert scores.grad.tolist() == [[0.5, 0.5], [0.0, 0.0]]


def test_of_a_store_of_all_scores_as_many_are_listed_as_are_asked_for(data, student, store, step, monkeypatch):
    """Prevents places that the same items always fill, and others from ever being taught."""
    monkeypatch.setattr(module, "LISTED", 5)
    shapes, model, labels = [], student(), store(kind="full")
    monkeypatch.setattr(module, "gumbel", lambda shape, rng: shapes.append(shape) or torch.zeros(shape))
    RankDistil(top=8).term(Setting(model, data.train, labels, 0))(step(model, labels))
    assert shapes == [(8, 16, 9)]
