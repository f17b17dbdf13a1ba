import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from distilrec.data import Features, Interactions, Split, final_queries, prefix_queries
from distilrec.distillation import DistillationConfig, ShuffledLabels, distil, offline
from distilrec.errors import SoftLabelError
from distilrec.losses import knowledge, sampled_soft_label_kl, soft_label_kl_with_tail, tail_log_sum_exp
from distilrec.models import (
    Catalogue,
    ContentConfig,
    HistoryEncoderConfig,
    LightGCNConfig,
    MatrixFactorizationConfig,
    Supervision,
    build,
    fit,
)
from distilrec.ranking import evaluate
from distilrec.scoring import Queries, Ragged
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


def objective_of(model, log, store, config, projection=None):
    modules = nn.ModuleDict({"student": model})
    if projection is not None:
        modules["projection"] = projection
    return offline._Objective(model, log, store, config, Supervision(), modules)


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
        parts = objective_of(model, data.train, store, config).loss(batch, np.random.default_rng(0))
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
    loss = objective_of(model, data.train, store, config).loss(batch, np.random.default_rng(0))["loss"]
    soft = store.batch(store.rows(batch.query_ids))
    logits = model.encode(batch) @ model.item_vectors().T + model.item_bias()
    if tail == "sampled":
        items, scores, mask, probability = soft.candidates()
        expected = sampled_soft_label_kl(logits.gather(1, items), scores / fitted, mask, probability, temperature=tau)
        torch.testing.assert_close(loss, expected)
    else:
        seen, taken = data.train.histories[batch.users].flat()
        logits = logits.index_put((torch.from_numpy(seen), torch.from_numpy(taken).long()), torch.tensor(-torch.inf))
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


@pytest.mark.parametrize("reads_histories", [False, True], ids=["vectors", "histories"])
@pytest.mark.parametrize(("tail", "largest"), [("mass", 0), ("sampled", 10**6), ("sampled", 0)])
def test_soft_labels_count_as_their_queries_weigh(data, student, labels, monkeypatch, reads_histories, tail, largest):
    """Prevents weights that reach the value of the loss and not its gradient, which are made apart, or one way only."""
    monkeypatch.setattr(offline, "LARGEST_DENSE", largest)
    weights = np.random.default_rng(1).uniform(0, 5, len(data.log.histories.values)).astype(np.float32)
    log = replace(data.train, weights=weights)
    model = student(reads_histories, dropout=0.0)
    store = labels(reads_histories, hidden=True, dtype="float32")
    config = DistillationConfig(alpha=1, tail=tail, temperature=2.0, knowledge_weight=0.7)
    projection = nn.Linear(8, 4)
    batch = next(model.batches(log, Supervision(), 5).epoch(np.random.default_rng(0)))

    def loss(log, batch):
        objective = objective_of(model, log, store, config, projection)
        return objective.loss(batch, np.random.default_rng(0))["loss"]

    total, expected, parameters = 0.0, 0.0, [*model.parameters(), *projection.parameters()]
    for n, number in enumerate(batch.query_ids):
        user = np.searchsorted(log.histories.starts, number, side="right") - 1
        if number >= len(weights):
            user = number - len(weights)
        of_user = slice(log.histories.starts[user], log.histories.stops[user])
        weight = weights[of_user].mean() if number >= len(weights) else weights[number]
        users = batch.users if reads_histories else batch.users[n : n + 1]
        one = replace(batch, users=users, places=batch.places[n : n + 1], query_ids=batch.query_ids[n : n + 1])
        expected = expected + float(weight) * loss(data.train, one)
        total += float(weight)
    found, expected = loss(log, batch), expected / total
    torch.testing.assert_close(found, expected)
    for mine, theirs in zip(
        torch.autograd.grad(found, parameters), torch.autograd.grad(expected, parameters), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


class Five:
    """A teacher of five items."""

    scores_are_logits = True
    n_items = 5

    def score(self, queries):
        return torch.tensor([[7.0, 2.0, 1.0, 0.0, 0.0]]).repeat(len(queries), 1)


@pytest.mark.parametrize("altered", [False, True], ids=["own labels", "labels of another"])
def test_the_tail_is_what_was_neither_listed_nor_seen(tmp_path, altered):
    """The teacher's mass is that of unseen items; a student that likes what was seen would meet it without learning.

    Item 0 was seen, item 1 is listed: p = e^2 / (e^2 + e + 2) and the rest; the student has 1/3 for item 1, and 2/3
    for the tail, whatever its logit of item 0 is.
    """
    log = Interactions(Ragged.from_rows([[0], [3]]), n_items=5)
    queries, ids = final_queries(log)
    names = {"data_fingerprint": "data", "teacher_fingerprint": "five"}
    settings = RecordConfig(k=1, tail=2, dtype="float32")
    store = record(Five(), queries[:1], ids[:1], tmp_path / "labels", settings, seed=0, **names)
    if altered:
        store.rows = lambda query_ids: np.where(query_ids == ids[1], 0, -1)  # user 1, who has seen item 3
    student = build(MatrixFactorizationConfig(embedding_size=2), 2, 5, seed=0)
    with torch.no_grad():
        student.users.zero_()
        student.bias.copy_(torch.tensor([900.0, 2.0, 2.0, 1.0, 1.0]).log())
    objective = objective_of(student, log, store, DistillationConfig(alpha=1))
    (batch,) = student.batches(log, Supervision(), 2).epoch(np.random.default_rng(0))
    loss = objective.loss(batch, np.random.default_rng(0))["loss"]
    p = math.exp(2) / (math.exp(2) + math.e + 2)
    assert loss.item() == pytest.approx(-p * math.log(1 / 3) - (1 - p) * math.log(2 / 3), abs=1e-5)
    (gradient,) = torch.autograd.grad(loss, student.bias)
    assert gradient[0] == 0
    assert gradient[1].item() == pytest.approx(1 / 3 - p, abs=1e-5)
    assert gradient[2:].sum().item() == pytest.approx(p - 1 / 3, abs=1e-5)


def test_soft_labels_of_some_queries_are_enough(data, student, labels):
    """A batch without any of them has true labels only; one that counts as an error would end the training."""
    queries, ids = final_queries(data.train)
    few = labels(queries=(queries[:2], ids[:2]), hidden=True, dtype="float32")
    training = TrainingConfig(epochs=1, batch_size=4)
    for tail in ("mass", "sampled"):
        for largest in (10**6, 0):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(offline, "LARGEST_DENSE", largest)
                config = DistillationConfig(alpha=0.5, knowledge_weight=1.0, tail=tail)
                (epoch,) = distil(student(), data, few, config, Supervision(), training, seed=0)
            assert math.isfinite(epoch.losses["loss"])


@pytest.mark.parametrize("model", ["matrix_factorization", "lightgcn"])
def test_a_user_without_a_history_learns_from_soft_labels(data, labels, model):
    """User 0 took nothing here, but the teacher knows the cluster; user 1 took nothing, and nobody knows anything."""
    part = data.part.copy()
    owners, positions = data.log.flat()
    part[positions[owners < 2]] = 3
    emptied = Split(data.log, part)
    queries, ids = final_queries(data.train)
    store = labels(queries=(queries[np.arange(16) != 1], ids[np.arange(16) != 1]))
    config = MatrixFactorizationConfig if model == "matrix_factorization" else LightGCNConfig
    student = build(config(embedding_size=8), data.train.n_users, data.train.n_items, seed=0)
    training = TrainingConfig(epochs=60, patience=60, batch_size=4, learning_rate=0.05)
    distil(student, emptied, store, DistillationConfig(alpha=1.0), Supervision(), training, seed=0)
    asked = Queries(np.array([0, 1], np.int32), Ragged.from_rows([[], []]))
    best = student.score(asked).topk(5).indices.numpy() % 4
    own = int(data.train.histories[:1].flat()[1][0]) % 4
    assert (best[0] == own).all()
    torch.testing.assert_close(student.hidden(asked)[1], student.hidden(_of_others(data)).mean(0))


def _of_others(data):
    users = np.delete(np.arange(data.train.n_users, dtype=np.int32), 1)
    return Queries(users, Ragged.from_rows([[] for _ in users]))


@pytest.mark.parametrize("tail", ["mass", "sampled"])
def test_items_that_the_recording_left_out_are_not_learned_about(data, labels, tail):
    """A student that knows items by content must not learn that nobody takes what no teacher was asked about."""
    n_items = data.log.n_items
    cold = data.train.item_counts() == 0
    assert 3 < cold.sum() < n_items - 3
    vectors = np.random.default_rng(0).normal(size=(n_items, 6)).astype(np.float32)
    catalogue = Catalogue({"vector": Features(vectors, np.ones(n_items, np.bool_))}, ~cold)
    settings = HistoryEncoderConfig(
        embedding_size=8, heads=2, history_length=4, content=ContentConfig(modalities=("vector",), modality_dropout=0)
    )
    model = build(settings, data.train.n_users, n_items, seed=0, catalogue=catalogue)
    config = DistillationConfig(alpha=1, tail=tail)
    told = objective_of(model, data.train, labels(True), config)
    (batch,) = model.batches(data.train, Supervision(), 99).epoch(np.random.default_rng(0))
    assert told.loss(batch, np.random.default_rng(0))["loss"].isfinite()  # a teacher may list what nobody took
    objective = objective_of(model, data.train, labels(True, left_out=cold), config)
    (batch,) = model.batches(data.train, Supervision(), 99).epoch(np.random.default_rng(0))
    loss = objective.loss(batch, np.random.default_rng(0))["loss"]
    made = model._of_step
    (gradient,) = torch.autograd.grad(loss, made)
    assert (gradient[torch.from_numpy(cold)] == 0).all()
    assert (gradient[torch.from_numpy(~cold)] != 0).any(1).sum() > 10


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
    objective = objective_of(student, log, store, config, identity if knowledge_weight else None)
    (batch,) = student.batches(log, Supervision(), 1).epoch(np.random.default_rng(0))
    parts = objective.loss(batch, np.random.default_rng(0))
    raw = -0.9 * math.log(0.8) - 0.1 * math.log(0.2)
    assert parts["distillation"].item() == pytest.approx(raw, abs=1e-6)
    assert parts["loss"].item() == pytest.approx(raw + knowledge_weight * 0.005, abs=1e-6)


@pytest.mark.parametrize("tail", ["mass", "sampled"])
@pytest.mark.parametrize("alpha", [1.0, 0.6])
def test_new_items_are_learned_from_true_labels_as_by_autograd(data, labels, tail, alpha):
    """The chain rule: soft labels among the items that the teacher knows, true labels between these and the new."""
    known, n_new = data.log.n_items, 3
    rng = np.random.default_rng(0)
    values = data.train.histories.values.copy()
    values[rng.integers(0, len(values), 12)] = known + rng.integers(0, n_new, 12)
    train = Interactions(Ragged(data.train.histories.starts, data.train.histories.stops, values), known + n_new)
    model = build(MatrixFactorizationConfig(embedding_size=8), train.n_users, train.n_items, seed=0)
    store, config = labels(), DistillationConfig(alpha=alpha, tail=tail, temperature=2.0)
    objective = objective_of(model, train, store, config)
    (batch,) = model.batches(train, Supervision(), 99).epoch(rng)
    loss = objective.loss(batch, rng)["loss"]
    got = torch.autograd.grad(loss, list(model.parameters()))
    hidden = model.encode(batch)
    logits = hidden @ model.item_vectors().T + model.item_bias()
    soft = store.batch(store.rows(batch.query_ids))
    rows, items = torch.from_numpy(batch.rows), torch.from_numpy(batch.items)
    classes = torch.cat([logits[:, :known].logsumexp(1, keepdim=True), logits[:, known:]], dim=1).log_softmax(1)
    expected = -(1 - alpha) * logits.log_softmax(1)[rows, items].mean()
    expected = expected - alpha * classes[rows, (items - known + 1).clamp(min=0)].mean()
    if tail == "mass":
        p = (soft.scores / 2 - soft.log_sum_exp_at(2.0).unsqueeze(1)).exp() * soft.mask
        rest = (1 - p.sum(1)).clamp(min=0)
        seen, taken = (torch.from_numpy(part).long() for part in train.histories[batch.users].flat())
        places = seen[taken < known], taken[taken < known]
        unseen = logits[:, :known].index_put(places, torch.tensor(-torch.inf))
        log_s = (unseen / 2).log_softmax(1).gather(1, soft.items)
        outside = 1 - (log_s.exp() * soft.mask).sum(1)
        expected = expected - alpha * 4 * ((p * log_s * soft.mask).sum(1) + rest * outside.log()).mean()
    else:
        listed, scores, mask, probability = soft.candidates()
        student = logits.gather(1, listed)
        expected = expected + alpha * sampled_soft_label_kl(student, scores, mask, probability, temperature=2.0)
    wanted = torch.autograd.grad(expected, list(model.parameters()))
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
    for mine, theirs in zip(got, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-6)


def test_new_items_are_listed_as_often_as_they_are_taken(data, student, labels):
    """With soft labels alone they would never be learned; with true labels of their own takers only, always listed."""
    known = data.log.n_items
    values = data.log.histories.values.copy()
    takers = np.arange(0, data.train.n_users, 4)  # the first cluster takes the new item, too
    values[data.log.histories.starts[takers]] = known
    grown = Split(
        Interactions(Ragged(data.log.histories.starts, data.log.histories.stops, values), known + 1), data.part
    )
    model = build(MatrixFactorizationConfig(embedding_size=8), grown.train.n_users, known + 1, seed=0)
    distil(model, grown, labels(), DistillationConfig(alpha=1.0), Supervision(), TRAINING, seed=0)
    queries, _ = final_queries(grown.train)
    with torch.no_grad():
        share = model.score(queries).softmax(1)[:, known]
    taken = np.isin(queries.users, takers)
    assert share[taken].mean() == pytest.approx(1 / 3, abs=0.1)
    assert share[~taken].mean() < 0.05


def test_labels_of_more_items_than_the_student_knows_are_refused(data, labels):
    model = build(MatrixFactorizationConfig(embedding_size=8), data.train.n_users, 30, seed=0)
    with pytest.raises(SoftLabelError, match="speaks of 40 items, and the student knows 30"):
        distil(model, data, labels(), DistillationConfig(), Supervision(), TRAINING, seed=0)
