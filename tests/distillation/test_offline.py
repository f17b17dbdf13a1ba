import math

import numpy as np
import pytest
import torch
from torch import nn

from distilrec.data import Interactions, final_queries, prefix_queries
from distilrec.distillation import DistillationConfig, ShuffledLabels, distil, offline
from distilrec.errors import SoftLabelError
from distilrec.losses import knowledge, sampled_soft_label_kl, soft_label_kl_with_tail, tail_log_sum_exp
from distilrec.models import MatrixFactorizationConfig, Supervision, build, fit
from distilrec.ranking import evaluate
from distilrec.scoring import Ragged
from distilrec.soft_labels import RecordConfig, record
from distilrec.training import TrainingConfig

TRAINING = TrainingConfig(epochs=60, evaluate_every=10, batch_size=16, learning_rate=0.05)
BEST_K = 6  # 10 items in a cluster, of which a user has taken 4 before the test item


def quality(model, data):
    metric = f"hit_rate@{BEST_K}"
    return evaluate(model, *data.queries("test"), [metric])[metric].mean()


@pytest.mark.parametrize("reads_histories", [False, True], ids=["vectors", "histories"])
@pytest.mark.parametrize("tail", ["mass", "sampled"])
def test_a_perfect_teacher_helps_where_data_are_few(data, student, labels, reads_histories, tail):
    """A distillation that is wired wrongly looks like the student alone, whatever its loss says."""
    alone, taught = student(reads_histories), student(reads_histories)
    fit(alone, data, Supervision(), TRAINING, seed=0)
    config = DistillationConfig(alpha=0.8, tail=tail)
    distil(taught, data, labels(reads_histories), config, Supervision(), TRAINING, seed=0)
    assert quality(taught, data) > quality(alone, data) + 0.2
    assert quality(taught, data) > 0.9


@pytest.mark.parametrize("supervision", [Supervision(), Supervision(loss="bpr", negatives=2)], ids=lambda s: s.loss)
@pytest.mark.parametrize("reads_histories", [False, True], ids=["vectors", "histories"])
def test_without_soft_labels_it_is_the_student_alone(data, student, labels, weights, supervision, reads_histories):
    """Any other difference between the two trainings would be credited to the teacher."""
    settings = TrainingConfig(epochs=4, batch_size=8)
    alone, taught = (student(reads_histories, dropout=0.2) for _ in range(2))
    curve = fit(alone, data, supervision, settings, seed=3)
    same = distil(taught, data, labels(), DistillationConfig(alpha=0), supervision, settings, seed=3)
    assert weights(alone) == weights(taught)
    assert [e.losses["loss"] for e in curve] == [e.losses["loss"] for e in same]


def test_labels_of_other_queries_are_worse(data, student, labels):
    """A gain that shuffled labels give, too, is no knowledge but smoothing."""
    real, shuffled = student(), student()
    store = labels()
    config = DistillationConfig(alpha=0.8)
    distil(real, data, store, config, Supervision(), TRAINING, seed=0)
    distil(shuffled, data, ShuffledLabels(store, seed=0), config, Supervision(), TRAINING, seed=0)
    assert quality(shuffled, data) < quality(real, data) - 0.2


def test_hidden_states_draw_the_student_near(data, student, labels):
    """A projection that learns alone would lower the loss and leave the student where it was."""
    teacher = labels(hidden=True, dtype="float32")
    ends, ids = final_queries(data.train)
    wanted = teacher.batch(teacher.rows(ids)).hidden

    def left(knowledge_weight):
        model = student(embedding_size=2)
        config = DistillationConfig(alpha=0, knowledge_weight=knowledge_weight)
        curve = distil(model, data, teacher, config, Supervision(), TRAINING, seed=0)
        with torch.no_grad():
            hidden = model.hidden(ends)
        projected = hidden @ torch.linalg.lstsq(hidden, wanted).solution
        return knowledge(projected, wanted).item(), curve

    without, _ = left(0.0)
    near, curve = left(20.0)
    assert near < 0.8 * without
    assert curve[-1].losses["knowledge"] < 0.7 * curve[0].losses["knowledge"]


def test_hidden_states_that_were_not_recorded_are_missed(data, student, labels):
    with pytest.raises(SoftLabelError, match="knowledge_weight needs the teacher's hidden states"):
        distil(student(), data, labels(), DistillationConfig(knowledge_weight=1), Supervision(), TRAINING, seed=0)


def test_labels_for_another_kind_of_student_are_refused(data, student, labels, tmp_path):
    """Queries that weren't recorded are left out, so this would be the student alone."""
    queries, ids = prefix_queries(data.train, 4)
    places = ids < len(data.train.histories.values)  # without the ends of histories, which both kinds share
    store = labels(queries=(queries[places], ids[places]))
    with pytest.raises(SoftLabelError, match="another kind of student"):
        distil(student(), data, store, DistillationConfig(), Supervision(), TRAINING, seed=0)


def test_a_temperature_off_the_grid_is_refused(data, student, labels):
    """Between two temperatures the teacher's log-sum-exp isn't known."""
    with pytest.raises(SoftLabelError, match=r"no log-sum-exp at temperature 3"):
        distil(student(), data, labels(), DistillationConfig(temperature=3), Supervision(), TRAINING, seed=0)


def objective_of(model, store, config, projection=None):
    modules = nn.ModuleDict({"student": model})
    if projection is not None:
        modules["projection"] = projection
    return offline._Objective(model, store, config, Supervision(), modules)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("reads_histories", [False, True], ids=["vectors", "histories"])
def test_the_sampled_tail_is_one_loss_computed_in_two_ways(
    data, student, labels, monkeypatch, temperature, reads_histories
):
    """Small and large catalogues would otherwise learn from different losses."""
    model, store = student(reads_histories, dropout=0.0), labels(reads_histories)
    batch = next(model.batches(data.train, Supervision(), 8).epoch(np.random.default_rng(0)))
    config = DistillationConfig(alpha=0.7, temperature=temperature, tail="sampled")
    found = []
    for largest in (10**6, 0):
        monkeypatch.setattr(offline, "LARGEST_DENSE", largest)
        model.zero_grad()
        parts = objective_of(model, store, config).loss(batch, np.random.default_rng(0))
        parts["loss"].backward()
        found.append((parts["loss"].detach(), *(p.grad.clone() for p in model.parameters())))
    for dense, gathered in zip(*found, strict=True):
        torch.testing.assert_close(dense, gathered, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("tail", ["mass", "sampled"])
def test_soft_labels_are_the_published_losses(data, student, labels, tail):
    """alpha, tau^2 and the fitted temperature each enter once, whatever the way in which the gradient is taken."""
    model, store, tau, fitted = student(), labels(), 2.0, 2.0
    store.manifest = store.manifest.model_copy(update={"temperature": fitted})
    batch = next(model.batches(data.train, Supervision(), 8).epoch(np.random.default_rng(0)))
    config = DistillationConfig(alpha=1, temperature=tau, tail=tail)
    loss = objective_of(model, store, config).loss(batch, np.random.default_rng(0))["loss"]
    soft = store.batch(store.rows(batch.query_ids))
    logits = model.encode(batch) @ model.item_vectors().T + model.item_bias()
    if tail == "sampled":
        items, scores, mask, probability = soft.candidates()
        expected = sampled_soft_label_kl(logits.gather(1, items), scores / fitted, mask, probability, temperature=tau)
        torch.testing.assert_close(loss, expected)
    else:
        expected = soft_label_kl_with_tail(
            logits.gather(1, soft.items),
            soft.scores / fitted,
            soft.mask,
            tail_log_sum_exp(logits, soft.items, soft.mask, temperature=tau),
            soft.log_sum_exp_at(fitted * tau),
            temperature=tau,
        )
    for found, wanted in zip(
        torch.autograd.grad(loss, list(model.parameters())),
        torch.autograd.grad(expected, list(model.parameters())),
        strict=True,
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


class Worked:
    """The teacher of the worked example."""

    scores_are_logits = True
    width = n_items = 2

    def hidden(self, queries):
        return torch.tensor([[0.6, 0.4]]).repeat(len(queries), 1)

    def score(self, queries):
        return torch.tensor([[0.9, 0.1]]).log().repeat(len(queries), 1)


@pytest.mark.parametrize("knowledge_weight", [0.0, 2.0])
@pytest.mark.parametrize("kind", ["topk", "full"])
def test_the_missions_worked_example_from_recording_to_loss(tmp_path, kind, knowledge_weight):
    """y_t = [.9, .1], y_s = [.8, .2], phi_t = [.6, .4], phi_s = [.5, .5]: .36177 and .01 (a mean here: .005)."""
    log = Interactions(Ragged.from_rows([[0]]), n_items=2)
    queries, ids = final_queries(log)
    settings = RecordConfig(kind=kind, k=2, dtype="float32", hidden=True, filter_seen=False)
    names = {"data_fingerprint": "data", "teacher_fingerprint": "worked"}
    store = record(Worked(), queries, ids, tmp_path / "labels", settings, seed=0, **names)
    student = build(MatrixFactorizationConfig(embedding_size=2), 1, 2, seed=0)
    identity = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        student.users.copy_(torch.tensor([[0.5, 0.5]]))
        student.items.zero_()
        student.bias.copy_(torch.tensor([0.8, 0.2]).log())
        identity.weight.copy_(torch.eye(2))
    config = DistillationConfig(alpha=1, knowledge_weight=knowledge_weight)
    objective = objective_of(student, store, config, identity if knowledge_weight else None)
    (batch,) = student.batches(log, Supervision(), 1).epoch(np.random.default_rng(0))
    parts = objective.loss(batch, np.random.default_rng(0))
    raw = -0.9 * math.log(0.8) - 0.1 * math.log(0.2)
    assert parts["distillation"].item() == pytest.approx(raw, abs=1e-6)
    assert parts["loss"].item() == pytest.approx(raw + knowledge_weight * 0.005, abs=1e-6)
