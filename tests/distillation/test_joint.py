from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from distilrec.data import Interactions, LeaveLastOut, Split, UserBatches, clusters, split
from distilrec.distillation import BD, DistillationConfig, distil_jointly, joint
from distilrec.distillation import bidirectional as bidirectional_module
from distilrec.distillation.bidirectional import bidirectional, draw, ranks
from distilrec.errors import RecipeError
from distilrec.losses import mission_loss
from distilrec.models import (
    HistoryEncoderConfig,
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
    monkeypatch.setattr(joint, "train_model", lambda modules, *of, **handed: caught.update(handed, modules=modules))
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


@pytest.mark.parametrize("method", [joint.MUTUAL, BD(sample=99)], ids=["mutual", "bd"])
def test_each_side_learns_of_queries_as_they_weigh(data, student, monkeypatch, method):
    """Prevents sample weights that count for true labels alone. All but user 3 weigh nothing."""
    owners, positions = data.log.flat()
    weights = np.zeros(len(positions), np.float32)
    weights[positions] = 2.0 * (owners == 3)
    weighed = Split(replace(data.log, weights=weights), data.part)
    teacher, pupil, settings = a_teacher(data, False), student(), {"alpha": 0.6, "knowledge_weight": 0.7}
    config = DistillationConfig(**settings)
    modules, _, parts = prepared(monkeypatch, teacher, pupil, weighed, config, method=method)
    for side in ("student", "teacher"):
        (gradient,) = torch.autograd.grad(parts[side], modules[side].users, retain_graph=True)
        assert gradient.any(1).nonzero().flatten().tolist() == [3]
    if method is joint.MUTUAL:
        of_user = UserBatches(data.train, 1)._batch(np.array([3]))
        state = [modules[side].encode(of_user) for side in ("student", "teacher")]
        logits = [
            x @ modules[side].item_vectors().T + modules[side].item_bias()
            for x, side in zip(state, ("student", "teacher"), strict=True)
        ]
        labels = torch.zeros(1, data.log.n_items)
        labels[0, torch.from_numpy(of_user.items)] = 1 / 3
        state[0] = modules["projection"](state[0])
        expected = mission_loss(*logits, torch.ones_like(labels, dtype=torch.bool), labels, *state, **settings)
        torch.testing.assert_close(parts["student"], expected)


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
    placing = HistoryEncoderConfig(content={"modalities": ("text",), "new_only": True})
    with pytest.raises(RecipeError, match="doesn't place new items"):
        joint.check_pair(placing, placing, Supervision())
    monkeypatch.setattr(joint, "LARGEST_CATALOGUE", 39)
    with pytest.raises(RecipeError, match="these data have 40"):
        attempt(a_teacher(data, False), student())


class TestBidirectional:
    """Each side learns from the other where it ranks items worse."""

    def parts(self, data, student, monkeypatch, method, alpha=0.6):
        """Modules, batch, and the parts of a loss that is pulled over all 40 items."""
        config = DistillationConfig(alpha=alpha)
        return prepared(monkeypatch, a_teacher(data, False), student(), data, config, method=method)

    def test_each_side_is_pulled_and_stops_at_the_other(self, data, student, monkeypatch):
        """A gradient that leaks lets the teacher come down to its student; a temperature on the wrong side, too."""
        method = BD(drawn=2000, sample=99)
        modules, batch, parts = self.parts(data, student, monkeypatch, method, alpha=1)
        scores = {
            side: modules[side].encode(batch) @ modules[side].item_vectors().T + modules[side].item_bias()
            for side in ("student", "teacher")
        }
        behind = (ranks(scores["student"]) - ranks(scores["teacher"])).float()
        weights = {"student": (0.01 * behind.clamp(min=0)).tanh(), "teacher": (-1e-4 * behind).exp()}
        for side, other in (("student", "teacher"), ("teacher", "student")):
            q = (scores[other] / 5).sigmoid().detach()
            each = binary_cross_entropy_with_logits(scores[side], q, reduction="none")
            p = weights[side] / weights[side].sum(1, keepdim=True)
            torch.testing.assert_close(parts[side], (p * each).sum(1).mean(), rtol=1e-3, atol=1e-3)
            strangers = list(modules[other].parameters())
            for leak in torch.autograd.grad(parts[side], strangers, retain_graph=True, allow_unused=True):
                assert leak is None or not leak.any()
            gradient = torch.autograd.grad(parts[side], modules[side].items, retain_graph=True)[0]
            assert bool(gradient.any())

    def test_true_labels_stay_beside_it(self, data, student, monkeypatch):
        """An alpha that counts for one of the two only."""
        whole, labels, pull = (
            self.parts(data, student, monkeypatch, BD(), alpha)[2]["student"].item() for alpha in (0.6, 0.0, 1.0)
        )
        assert whole == pytest.approx(0.4 * labels + 0.6 * pull, rel=1e-5)

    def test_ranks_of_a_sample_stand_for_those_of_all_items(self, monkeypatch):
        """A rank of 5 among 10 of 1,000 items is one of 500: else hardly any difference would seem large."""
        weights = []
        monkeypatch.setattr(bidirectional_module, "draw", lambda given, n, rng: weights.append(given) or (None, None))
        monkeypatch.setattr(bidirectional_module, "_pull", lambda *_: torch.zeros(()))
        scores = torch.arange(10.0)[None]  # the student's least is the teacher's best
        bidirectional(scores, -scores, torch.ones(len(scores)), 1000, BD(), np.random.default_rng(0))
        behind = 100 * torch.tensor([9.0, 7.0, 5.0, 3.0, 1.0])
        torch.testing.assert_close(weights[0], torch.cat([(0.01 * behind).tanh(), torch.zeros(5)])[None])
        assert bool((weights[1].diff() > 0).all())  # what the student has high is what the teacher is to look at

    def test_items_are_drawn_in_proportion(self):
        """A row whose draws are another's, and items without weight that are drawn all the same."""
        weights = torch.tensor([[1.0, 0.0, 3.0], [0.0, 0.0, 0.0], [0.0, 5.0, 0.0]])
        places, counts = draw(weights, 4000, np.random.default_rng(0))
        assert counts.tolist() == [[True] * 4000, [False] * 4000, [True] * 4000]
        assert places[0].bincount(minlength=3).tolist() == [
            pytest.approx(1000, abs=100),
            0,
            pytest.approx(3000, abs=100),
        ]
        assert places[2].unique().tolist() == [1]

    def test_sides_that_agree_have_nothing_to_learn(self):
        """Rows without any weight would be 0 / 0."""
        scores = torch.arange(6.0).repeat(2, 1).requires_grad_()
        for_student, _ = bidirectional(scores, scores, torch.ones(len(scores)), 6, BD(), np.random.default_rng(0))
        for_student.backward()
        assert for_student == 0
        assert not scores.grad.any()

    def test_a_strong_side_teaches_a_weak_one(self, data, student):
        """A pull that is wired wrongly looks like two models alone."""

        def taught(alpha):
            teacher, pupil = a_teacher(data, False, item_bias=False), student()
            with torch.no_grad():  # it knows each user's cluster, and the items of each
                for vectors in (teacher.users, teacher.items):
                    vectors.copy_(3 * torch.eye(4)[torch.arange(len(vectors)) % 4].repeat(1, 4) / 2)
            config = DistillationConfig(alpha=alpha)
            distil_jointly(teacher, pupil, data, config, Supervision(), TRAINING, seed=0, method=BD())
            return evaluate(pupil, *data.queries("test"), ["hit_rate@6"])["hit_rate@6"].mean()

        assert taught(0.8) >= taught(0) + 0.15
