import numpy as np
import pytest
import torch

from distilrec.data import Interactions, LeaveLastOut, clusters, split
from distilrec.distillation import DistillationConfig, distil_jointly, joint
from distilrec.errors import RecipeError
from distilrec.losses import mission_loss
from distilrec.models import (
    LightGCNConfig,
    MatrixFactorizationConfig,
    Popularity,
    PopularityConfig,
    SASRecConfig,
    Supervision,
    build,
)
from distilrec.ranking import evaluate
from distilrec.scoring import Ragged
from distilrec.training import TrainingConfig

TRAINING = TrainingConfig(epochs=30, evaluate_every=10, batch_size=32, learning_rate=0.03)


def quality(model, data):
    return evaluate(model, *data.queries("test"), ["hit_rate@3"])["hit_rate@3"].mean()


def a_teacher(data, reads_histories, **settings):
    if reads_histories:
        config = SASRecConfig(embedding_size=16, heads=2, history_length=4, layers=1, **settings)
    else:
        config = MatrixFactorizationConfig(embedding_size=16, **settings)
    return build(config, data.train.n_users, data.train.n_items, seed=1)


@pytest.mark.parametrize("reads_histories", [False, True], ids=["vectors", "histories"])
def test_both_sides_learn(reads_histories):
    """A teacher that is left out of the optimiser would stay as it began."""
    data = split(clusters().interactions, LeaveLastOut())
    popularity = Popularity(PopularityConfig(), data.train.n_users, data.train.n_items)
    popularity.fit(data.train)
    teacher, pupil = a_teacher(data, reads_histories), a_teacher(data, reads_histories, item_bias=False)
    config = DistillationConfig(alpha=0.3, knowledge_weight=0.1)
    curve = distil_jointly(teacher, pupil, data, config, Supervision(), TRAINING, seed=0)
    for side, model in (("teacher", teacher), ("student", pupil)):
        assert quality(model, data) > quality(popularity, data) + 0.4
        assert curve[-1].losses[side] < 0.8 * curve[0].losses[side]


def test_a_teacher_that_needs_the_graph_gets_it(data, student):
    """LightGCN takes its graph when it is asked for batches, which are the student's here."""
    config = LightGCNConfig(embedding_size=8)
    teacher = build(config, data.train.n_users, data.train.n_items, seed=0)
    distil_jointly(teacher, student(), data, DistillationConfig(), Supervision(), TrainingConfig(epochs=1), seed=0)
    assert teacher.smoothed.abs().sum() > 0


def prepared(monkeypatch, teacher, pupil, data, config, **options):
    """The modules, one batch and the parts of its loss, as `train` gets them."""
    caught = {}
    monkeypatch.setattr(joint, "train", lambda modules, **handed: caught.update(handed, modules=modules))
    distil_jointly(teacher, pupil, data, config, Supervision(), TRAINING, seed=0, **options)
    rng = np.random.default_rng(0)
    batch = next(iter(caught["batches"](rng)))
    return caught["modules"], batch, caught["loss"](batch, rng)


def test_each_side_is_the_missions_loss_and_stops_at_the_other(data, student, monkeypatch):
    """A gradient that leaks lets the teacher come down to its student, which lowers the loss all the same."""
    teacher, pupil = a_teacher(data, False), student()
    settings = {"alpha": 0.6, "temperature": 2.0, "knowledge_weight": 0.7}
    modules, batch, parts = prepared(monkeypatch, teacher, pupil, data, DistillationConfig(**settings))
    labels = torch.zeros(len(batch.query_ids), data.log.n_items)
    labels[torch.from_numpy(batch.rows), torch.from_numpy(batch.items)] = 1 / 3  # three items per user
    mask = torch.ones_like(labels, dtype=torch.bool)
    state = {side: modules[side].encode(batch) for side in ("teacher", "student")}
    logits = {side: x @ modules[side].item_vectors().T + modules[side].item_bias() for side, x in state.items()}
    state["student"] = modules["projection"](state["student"])
    for side, other in (("student", "teacher"), ("teacher", "student")):
        expected = mission_loss(
            logits[side], logits[other].detach(), mask, labels, state[side], state[other].detach(), **settings
        )
        torch.testing.assert_close(parts[side], expected)
        own = list(modules[side].parameters())
        if side == "student":
            own += list(modules["projection"].parameters())
        for found, wanted in zip(
            torch.autograd.grad(parts[side], own, retain_graph=True),
            torch.autograd.grad(expected, own, retain_graph=True),
            strict=True,
        ):
            torch.testing.assert_close(found, wanted)
        strangers = list(modules[other].parameters())
        if side == "teacher":
            strangers += list(modules["projection"].parameters())
        for leak in torch.autograd.grad(parts[side], strangers, retain_graph=True, allow_unused=True):
            assert leak is None or not leak.any()


def test_dislikes_are_learned_from(data, student, monkeypatch):
    """An argument that is accepted and does nothing."""
    disliked = Interactions(Ragged.from_rows([[1]] * data.train.n_users), data.log.n_items)
    given = [
        prepared(monkeypatch, a_teacher(data, False), student(), data, DistillationConfig(), disliked=d)[2]
        for d in (None, disliked)
    ]
    assert given[1]["student"] > given[0]["student"]
    assert given[1]["teacher"] > given[0]["teacher"]


def test_sides_that_do_not_fit_are_refused(data, student, monkeypatch):
    """Other batches, or a longer window than was trained, would fail deep inside a model."""

    def attempt(teacher, pupil, loss="softmax"):
        supervision = Supervision(loss=loss)
        distil_jointly(teacher, pupil, data, DistillationConfig(), supervision, TRAINING, seed=0)

    with pytest.raises(RecipeError, match="SASRec and MatrixFactorization"):
        attempt(a_teacher(data, True), student())
    with pytest.raises(RecipeError, match="the teacher reads 4 items, the student 9"):
        attempt(a_teacher(data, True), student(True, history_length=9))
    with pytest.raises(RecipeError, match="needs the loss 'softmax'"):
        attempt(a_teacher(data, False), student(), "bpr")
    monkeypatch.setattr(joint, "LARGEST_CATALOGUE", 39)
    with pytest.raises(RecipeError, match="these data have 40"):
        attempt(a_teacher(data, False), student())
