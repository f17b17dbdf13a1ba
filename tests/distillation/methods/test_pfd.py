import math

import numpy as np
import pytest
import torch

from distilrec.data import Interactions, LeaveLastOut, final_queries, split
from distilrec.distillation import DistillationConfig, distil
from distilrec.distillation.method import Schedule, Setting, Step
from distilrec.distillation.methods import PFD
from distilrec.errors import SoftLabelError
from distilrec.losses import soft_binary_cross_entropy
from distilrec.models import MatrixFactorizationConfig, Supervision, build, fit
from distilrec.ranking import evaluate
from distilrec.rng import generator
from distilrec.scoring import Ragged
from distilrec.soft_labels import RecordConfig, record
from distilrec.testing import MethodContract
from distilrec.training import TrainingConfig

FACTORED, FULL = {"kind": "factored"}, {"kind": "full"}


class TestPFD(MethodContract):
    method = PFD()


class TestPFDWithTargets(MethodContract):
    method = PFD(negatives=2)
    record = FACTORED


class TestPFDOverAllItems(MethodContract):
    method = PFD()
    record = FULL


def step_for(student, data, labels, rng=0):
    """The first step of training."""
    batch = next(iter(student.batches(data.train, Supervision(), 8).epoch(np.random.default_rng(rng))))
    rows = labels.rows(batch.query_ids)
    soft, ones = labels.batch(rows), torch.ones(len(rows))
    return Step(student, labels, batch, student.encode(batch), rows, soft, ones, 1, np.random.default_rng(rng))


@pytest.mark.parametrize("negatives", [1, 3])
def test_the_teachers_probability_is_that_of_taken_against_drawn(data, student, labels, negatives):
    """Scores taken for logits of a sigmoid would say probabilities that shift with any constant of the teacher."""
    store = labels(kind="full", dtype="float32")
    step = step_for(student(), data, store)
    p = step.soft.scores.masked_fill(~step.soft.mask, -torch.inf).softmax(1)
    q = p / (p + negatives / 40)
    scores = step.scores(step.soft.items)
    each = torch.nn.functional.binary_cross_entropy_with_logits(scores, q, reduction="none")
    loss = PFD(negatives=negatives).term(Setting(student(), data.train, store, 0))(step)
    torch.testing.assert_close(loss, each[step.soft.mask].mean())


def test_items_to_be_found_join_where_they_can_be_scored(data, student, labels):
    """A target that the teacher didn't list, and who reads on in another query's row."""
    store = labels(kind="factored", dtype="float32", tail=0)
    step = step_for(student(), data, store)
    chance = step.soft.log_sum_exp_at(1.0)[:, None] + math.log(1 / 40)
    rows = torch.from_numpy(step.batch.rows)
    targets = torch.from_numpy(step.batch.items)
    students = step.hidden @ step.item_vectors.T + step.student.item_bias()
    teachers = step.teacher_scores(torch.arange(40).expand(len(step.rows), -1)) - chance
    pairs = [(students.gather(1, step.soft.items).flatten(), teachers.gather(1, step.soft.items).flatten())]
    pairs.append((students[rows, targets], teachers[rows, targets]))
    expected = soft_binary_cross_entropy(
        torch.cat([s for s, _ in pairs])[None], torch.cat([t for _, t in pairs])[None],
        torch.cat([step.soft.mask.flatten(), torch.ones(len(rows), dtype=torch.bool)])[None],
    )  # fmt: skip
    loss = PFD().term(Setting(student(), data.train, store, 0))(step)
    torch.testing.assert_close(loss, expected)


def test_a_missing_temperature_is_missed_before_training(data, student, labels):
    store = labels(temperatures=(0.5, 2.0))
    with pytest.raises(SoftLabelError, match="needs the log-sum-exp of scores at the fitted temperature"):
        PFD().check(Setting(student(), data.train, store, 0))


def noisy(seed):
    """Users like one cluster of four; half of what they trained on are items of another, clicked by mistake.

    Also which clicks were meant, which is known only afterwards.
    """
    rng = generator(seed, "noisy")
    rows, meant = [], []
    for user in range(32):
        own = rng.permutation(np.arange(user % 4, 40, 4))[:4]
        others = rng.permutation(np.arange((user + rng.integers(1, 4)) % 4, 40, 4))[:2]
        order = rng.permutation(4)
        rows.append([*np.concatenate([own[:2], others])[order].tolist(), *own[2:].tolist()])
        meant.append(order < 2)
    return split(Interactions(Ragged.from_rows(rows), 40), LeaveLastOut()), np.array(meant)


class Counting:
    """Counts the clusters of the clicks that it takes into account, 4 for each of the user's four."""

    scores_are_logits, n_items = True, 40

    def __init__(self, counted):
        self.counted = counted

    def score(self, queries):
        items = queries.histories.flat()[1].reshape(-1, 4)
        votes = (torch.from_numpy(items % 4)[:, :, None] == torch.arange(4)).float()
        counted = torch.from_numpy(self.counted[queries.users]).float()[:, :, None]
        return 2 * (votes * counted).sum(1)[:, torch.arange(40) % 4]


def test_a_privileged_feature_helps_a_student_that_never_reads_it(tmp_path):
    """A gain that any teacher would give says nothing of the feature: the same one without it must give less."""
    data, meant = noisy(0)
    training = TrainingConfig(epochs=20, evaluate_every=10, batch_size=32, learning_rate=0.1)
    supervision = Supervision(loss="bce")
    queries, ids = final_queries(data.train)

    def quality(counted=None):
        model = build(MatrixFactorizationConfig(embedding_size=8), data.train.n_users, 40, seed=0)
        if counted is None:
            fit(model, data, supervision, training, seed=0)
        else:
            folder = tmp_path / f"{counted.mean()}"
            labels = record(Counting(counted), queries, ids, folder, RecordConfig(k=20, tail=20),
                            seed=0, data_fingerprint="noisy", teacher_fingerprint="counting")  # fmt: skip
            config = DistillationConfig(alpha=0.8, methods=(PFD(schedule=Schedule(begin=5)),))
            distil(model, data, labels, config, supervision, training, seed=0)
        return evaluate(model, *data.queries("test"), ["hit_rate@6"])["hit_rate@6"].mean()

    informed, blind, alone = quality(meant), quality(np.ones_like(meant)), quality()
    assert informed >= alone + 0.3
    assert informed >= blind + 0.2
