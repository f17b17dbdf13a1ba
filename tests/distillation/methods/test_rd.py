import math

import pytest
import torch

from distilrec.distillation.method import Setting
from distilrec.distillation.methods import RD
from distilrec.distillation.methods.rd import discrepancy, place_weights
from distilrec.testing import MethodContract


class TestRD(MethodContract):
    """Only true labels bring negatives, so they must weigh more here."""

    method = RD(items=7, sharpness=20, warmup=20)
    alpha = 0.6


class TestRDBeforeItsRanks(MethodContract):
    method = RD(items=7, sharpness=20, warmup=1000)
    alpha = 0.5


def test_place_weights_by_hand():
    """Weights that don't add up to 1 would make lambda depend on the length of the list."""
    total = 1 + math.exp(-0.5) + math.exp(-1)
    expected = [1 / total, math.exp(-0.5) / total, math.exp(-1) / total]
    assert place_weights(3, 2.0).tolist() == pytest.approx(expected)


def test_only_what_the_student_ranks_too_low_counts():
    """The sign turned, the list would be learned where it is known, and nowhere else."""
    weights = discrepancy(torch.tensor([[0.0, 0.0, 12.0, 10_000.0]]), 0.1)
    assert weights.tolist() == [pytest.approx([0.0, 0.0, math.tanh(1.0), 1.0])]


@pytest.mark.parametrize("warmup", [0, 1])
def test_one_query_at_a_time(warmup, make_step, data):
    """Of a sample of all items nothing is left to chance, and plain Python says what the loss is."""
    step = make_step()
    scores = (step.hidden @ step.item_vectors.T + step.student.item_bias()).tolist()
    total = 0.0
    for row, user in enumerate(step.batch.users):
        seen = set(data.train.histories[user : user + 1].flat()[1].tolist())
        order = sorted((item for item in range(40) if item not in seen), key=lambda item: -scores[row][item])
        for place, item in enumerate(step.soft.items[row, :5].tolist()):
            weight = math.exp(-place / 2) / sum(math.exp(-n / 2) for n in range(5))
            if warmup == 0:
                weight *= max(0.0, math.tanh(0.1 * (order.index(item) - place)))
            total += weight * math.log1p(math.exp(-scores[row][item])) / 16
    method = RD(items=5, sharpness=2, warmup=warmup)
    loss = method.term(Setting(step.student, data.train, step.labels, 0))(step)
    assert loss.item() == pytest.approx(total, rel=1e-5)
