from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from distilrec.data import Interactions, final_queries
from distilrec.distillation.method import Setting
from distilrec.distillation.methods import FitNet, FreqD
from distilrec.distillation.methods.freqd import _Product, _smoother
from distilrec.models import LightGCNConfig, build
from distilrec.scoring import Ragged
from distilrec.testing import MethodContract
from tests.distillation.feature_steps import first_step, setting_of


class TestFreqD(MethodContract):
    method = FreqD(weight=10)
    record: ClassVar = {"kind": "factored"}


def test_by_hand(data, student, labels):
    """|| H (E^S W' - E^T) ||^2 with dense matrices, of the batch's users and of its items."""
    model, store = student(), labels(kind="factored")
    step, term = first_step(model, data, store, batch_size=5), FreqD(keep=1).term(setting_of(model, data, store))
    known = {
        "item": (model.items, torch.tensor(store.item_vectors), np.unique(step.batch.items)),
        "query": (model.users, store.hidden(store.rows(final_queries(data.train)[1])), step.batch.users),
    }
    expected = 0
    for side, (mine, teachers, nodes) in known.items():
        smoother = 0.8 * torch.eye(len(mine)) + 0.2 * torch.from_numpy(term.graphs[side].toarray())
        difference = smoother @ (mine @ term.maps[side].weight.T - teachers)
        expected = expected + difference[nodes].square().mean() / 2
    loss = term(step)
    torch.testing.assert_close(loss, expected)
    for given, dense in zip(
        *(torch.autograd.grad(x, [model.users, model.items]) for x in (loss, expected)), strict=True
    ):
        torch.testing.assert_close(given, dense)


def test_without_smoothing_it_is_fitnet(data, student, labels):
    """What smoothing brings must not be mixed with another difference."""
    model, store = student(), labels(kind="factored")
    plain = FitNet().term(setting_of(model, data, store))
    term = FreqD(smoothing=0).term(setting_of(model, data, store))
    term.maps.load_state_dict(plain.maps.state_dict())
    step = first_step(model, data, store)
    torch.testing.assert_close(term(step), plain(step))


def test_edges_are_left_out_without_bias(data, student, labels):
    """Kept edges that aren't scaled up would smooth less than the settings say."""
    graph = FreqD().term(setting_of(student(), data, labels(kind="factored"))).graphs["item"]
    rows, rng = np.array([3, 7]), np.random.default_rng(0)
    mean = np.zeros((2, 40))
    for _ in range(500):
        smoother, nodes = _smoother(graph, rows, FreqD(keep=0.3), rng)
        assert set(rows) <= set(nodes.tolist())
        mean[:, nodes] += smoother.toarray() / 500
    whole, nodes = _smoother(graph, rows, FreqD(keep=1), rng)
    np.testing.assert_allclose(mean[:, nodes], whole.toarray(), atol=0.02)
    assert len(nodes) > 4


def test_the_gradient_of_the_product():
    """Of a matrix that isn't symmetric."""
    matrix = csr_array((np.random.default_rng(0).random((6, 5)) < 0.5).astype(np.float64))
    dense = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: _Product.apply(matrix, x), (dense,))


def test_users_that_were_not_recorded_are_no_neighbours(data, student, labels):
    """Zeros in their place would pull all that are near them to the origin."""
    queries, ids = final_queries(data.train)
    model, store = student(), labels(queries=(queries[::4], ids[::4]), kind="factored")
    setting = setting_of(model, data, store)
    graph = FreqD(neighbours=20).term(setting).graphs["query"]
    assert set(np.unique(graph.indices)) <= set(range(0, 16, 4))
    assert np.diff(graph.indptr)[::4].max() > 0


def test_items_that_the_teacher_does_not_know_are_left_out(data, student, labels):
    """Their vectors would be read from beyond the store, or from another item's row."""
    log = data.train
    grown = Interactions(Ragged(log.histories.starts, log.histories.stops, log.histories.values + 3), log.n_items + 3)
    model, store = student(), labels(kind="factored")
    graphs = FreqD().term(Setting(model, grown, store, 0)).graphs
    assert graphs["item"].shape == (40, 40)


def test_histories_are_no_nodes(data, student, labels):
    """A query that is a prefix of a history has no place in a graph of users."""
    model, store = student(reads_histories=True), labels(reads_histories=True, kind="factored")
    assert list(FreqD().term(setting_of(model, data, store)).graphs) == ["item"]


@pytest.mark.parametrize("keep", [0.5, 1.0])
def test_lightgcn_learns_its_users_too(data, labels, keep):
    """Its vectors as served have no gradient, so users would learn nothing, without an error."""
    model, store = build(LightGCNConfig(embedding_size=8), data.train.n_users, 40, seed=0), labels(kind="factored")
    term = FreqD(keep=keep).term(setting_of(model, data, store))
    step = first_step(model, data, store)
    term._distance(step, "query", step.batch.users, step.soft.recorded.float()).backward()
    assert (model.first.grad[:16].abs().sum(1) > 0).all()
