"""What is among the first k, and what recall that makes."""

import pytest
import torch

from distilrec.losses import missed_recall, soft_top_k
from distilrec.testing import LossContract


class TestMissedRecall(LossContract):
    @staticmethod
    def loss(student, teacher, mask):
        return missed_recall(student, teacher.sigmoid(), mask, 2)

    def test_arguments_that_do_not_fit_are_refused(self, scores):
        super().test_arguments_that_do_not_fit_are_refused(scores)
        student, _ = scores
        with pytest.raises(ValueError, match="k of at least 1"):
            missed_recall(student, student.exp(), torch.ones(4, 6, dtype=torch.bool), 0)


@pytest.fixture
def scores():
    return torch.randn(5, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3


EVERYTHING = torch.ones(5, 9, dtype=torch.bool)


def test_by_hand():
    """Two of three are let in: the threshold t solves 2 sigmoid(0 - t) + sigmoid(log 3 - t) = 2, with e^-t = z:
    2z / (1 + z) + 3z / (1 + 3z) = 2, so 3z^2 - 3z - 2 = 0 and z = (3 + sqrt 33) / 6."""
    z = (3 + 33**0.5) / 6
    scores = torch.tensor([[0.0, 3.0, 0.0]], dtype=torch.float64)
    scores[0, 1] = torch.tensor(3.0, dtype=torch.float64).log()
    soft = soft_top_k(scores, EVERYTHING[:1, :3], 2)
    assert soft[0].tolist() == pytest.approx([z / (1 + z), 3 * z / (1 + 3 * z), z / (1 + z)], abs=1e-7)
    p = torch.tensor([[0.1, 0.5, 0.2]], dtype=torch.float64)
    missed = 0.1 / (1 + z) + 0.5 / (1 + 3 * z) + 0.2 / (1 + z)
    assert missed_recall(scores, p, EVERYTHING[:1, :3], 2).item() == pytest.approx(missed, abs=1e-7)


def test_rows_add_up_to_k_and_move_with_nothing_but_differences(scores):
    for k in (1, 4, 8):
        soft = soft_top_k(scores, EVERYTHING, k)
        torch.testing.assert_close(soft.sum(1), torch.full((5,), float(k), dtype=torch.float64), atol=1e-6, rtol=0)
        torch.testing.assert_close(soft, soft_top_k(scores + 100, EVERYTHING, k), atol=1e-6, rtol=0)
        assert torch.equal(soft.argsort(dim=1), scores.argsort(dim=1))


def test_cold_it_is_the_indicator_of_the_best(scores):
    soft = soft_top_k(scores, EVERYTHING, 3, temperature=1e-4)
    best = torch.zeros_like(scores).scatter_(1, scores.topk(3).indices, 1.0)
    torch.testing.assert_close(soft, best, atol=1e-3, rtol=0)


def test_gradients_are_those_of_the_solution(scores):
    """Prevents a threshold that stands still, with which every score could rise at no price."""
    few = EVERYTHING.clone()
    few[0, 5:] = False
    few[1, 2:] = False  # no more than k
    assert torch.autograd.gradcheck(lambda s: soft_top_k(s, few, 3, temperature=0.7), scores.requires_grad_())
    soft_top_k(scores, few, 3).sum().backward()
    assert scores.grad.abs().max() < 1e-6


def test_the_loss_is_the_recall_that_the_teacher_expects_to_miss(scores):
    """Cold, it must be the teacher's probability outside the student's k best."""
    p = torch.rand(5, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64) / 9
    inside = p.gather(1, scores.topk(4).indices).sum(1)
    expected = (p.sum(1) - inside).mean()
    assert missed_recall(scores, p, EVERYTHING, 4, temperature=1e-5).item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("offset", [0.0, 3e3])
def test_in_single_precision_with_ties_and_large_scores(offset):
    """A threshold found to half the digits would let rows add up to anything."""
    scores = torch.randn(64, 400, generator=torch.Generator().manual_seed(2)).round(decimals=1) * 5 + offset
    soft = soft_top_k(scores, torch.ones(64, 400, dtype=torch.bool), 50, temperature=0.5)
    torch.testing.assert_close(soft.sum(1), torch.full((64,), 50.0), atol=2e-3, rtol=0)
