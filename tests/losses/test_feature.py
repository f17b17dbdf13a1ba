import math

import pytest
import torch

from distilrec.errors import SoftLabelError
from distilrec.losses import knowledge, preference_consistency
from distilrec.testing import LossContract

STUDENT, TEACHER = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.6, 0.4]])


def test_the_worked_example_of_the_mission():
    """1/2 (0.1^2 + 0.1^2) = 0.01; the mean over D = 2 is half of it."""
    assert knowledge(STUDENT, TEACHER, reduction="sum").item() == pytest.approx(0.01)
    assert knowledge(STUDENT, TEACHER).item() == pytest.approx(0.005)


def test_the_mean_does_not_depend_on_batch_size():
    """A sum would make lambda depend on it."""
    assert knowledge(STUDENT.repeat(8, 1), TEACHER.repeat(8, 1)).item() == pytest.approx(0.005)
    assert knowledge(STUDENT.repeat(8, 1), TEACHER.repeat(8, 1), reduction="sum").item() == pytest.approx(0.08)


@pytest.mark.parametrize(("reduction", "expected"), [("mean", 0.005), ("sum", 0.01)])
def test_rows_without_a_recorded_state_do_not_count(reduction, expected):
    student = torch.cat([STUDENT, torch.full((1, 2), 9.0)])
    teacher = torch.cat([TEACHER, torch.zeros(1, 2)])
    loss = knowledge(student, teacher, torch.tensor([1.0, 0.0]), reduction=reduction)
    assert loss.item() == pytest.approx(expected)


def test_gradient_goes_to_the_student_only_and_toward_the_teacher():
    student, teacher = STUDENT.clone().requires_grad_(), TEACHER.clone().requires_grad_()
    knowledge(student, teacher, reduction="sum").backward()
    torch.testing.assert_close(student.grad, torch.tensor([[-0.1, 0.1]]))
    assert teacher.grad is None


def test_gradcheck():
    student = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(3, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: knowledge(x, teacher), (student,))


def test_other_widths_are_refused():
    """Width 1 would broadcast over the teacher's width."""
    with pytest.raises(ValueError, match="project the student"):
        knowledge(STUDENT[:, :1], TEACHER)


def test_a_broken_teacher_is_refused():
    with pytest.raises(SoftLabelError, match="NaN or infinite"):
        knowledge(STUDENT, torch.tensor([[math.nan, 0.0]]))


def test_an_unknown_reduction_is_refused():
    with pytest.raises(ValueError, match="reduction"):
        knowledge(STUDENT, TEACHER, reduction="batchmean")


class TestPreferenceConsistency(LossContract):
    @staticmethod
    def loss(student, teacher, mask):
        return preference_consistency(student, teacher, mask, temperature=0.5)

    def test_arguments_that_do_not_fit_are_refused(self, scores):
        """Prevents broadcasting. Both scores are the student's: if it diverges, the teacher's store isn't to blame."""
        student, teacher = scores
        with pytest.raises(ValueError, match="expected"):
            self.value(student, teacher[:, :1])
        with pytest.raises(ValueError, match="temperature"):
            preference_consistency(student, teacher, torch.ones(4, 6, dtype=torch.bool), temperature=0)
        assert self.value(student, teacher * torch.nan)[0].isnan()


def test_consistency_by_hand():
    """CE((.8, .2), (.5, .5)) = log 2, and the other way round another value; temperature divides both."""
    sure, even, mask = torch.tensor([[0.8, 0.2]]).log() / 10, torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool)
    assert preference_consistency(even, sure, mask, temperature=0.1).item() == pytest.approx(math.log(2))
    expected = -(math.log(0.8) + math.log(0.2)) / 2
    assert preference_consistency(sure, even, mask, temperature=0.1).item() == pytest.approx(expected)


def test_rows_without_items_do_not_dilute_consistency():
    """Queries that weren't recorded have no items."""
    own = torch.tensor([[0.8, 0.2, 9.0], [5.0, 1.0, 2.0]]).log()
    mask = torch.tensor([[True, True, False], [False, False, False]])
    assert preference_consistency(torch.zeros(2, 3), own, mask, temperature=1.0).item() == pytest.approx(math.log(2))


def test_consistency_counts_rows_as_they_weigh():
    """log 2, and 0 where one item is left: 3 log 2 / 4."""
    mask = torch.tensor([[True, True], [True, False]])
    weights = torch.tensor([3.0, 1.0])
    loss = preference_consistency(torch.zeros(2, 2), torch.zeros(2, 2), mask, temperature=1.0, weights=weights)
    assert loss.item() == pytest.approx(0.75 * math.log(2))


def test_a_constant_does_not_change_consistency():
    own, mask = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)), torch.ones(3, 5, dtype=torch.bool)
    shift = torch.tensor([[3.0], [-2.0], [50.0]])
    expected = preference_consistency(own.flip(1), own, mask, temperature=0.1)
    shifted = preference_consistency(own.flip(1) + shift, own - shift, mask, temperature=0.1)
    torch.testing.assert_close(shifted, expected, rtol=1e-4, atol=1e-4)
