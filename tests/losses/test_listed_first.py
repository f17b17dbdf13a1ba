import math

import pytest
import torch

from distilrec.losses import listed_first
from distilrec.testing import LossContract


class TestListedFirst(LossContract):
    @staticmethod
    def loss(student, teacher, mask):
        return listed_first(student, teacher, mask, listed=3)


def test_by_hand():
    """The teacher lists the third item and the first: 5 beside 1 + 3, and 2 beside 1 + 3, whatever their order."""
    student = torch.tensor([[2.0, 1.0, 5.0, 3.0]]).log()
    teacher, mask = torch.tensor([[0.5, 0.1, 0.9, 0.2]]), torch.ones(1, 4, dtype=torch.bool)
    loss = listed_first(student, teacher, mask, listed=2, reduction="sum")
    assert loss.item() == pytest.approx(-math.log(5 / 9) - math.log(2 / 6))
    assert listed_first(student, teacher, mask, listed=2).item() == pytest.approx(loss.item() / 2)
    turned = teacher[:, [2, 1, 0, 3]]
    assert listed_first(student, turned, mask, listed=2, reduction="sum").item() == pytest.approx(loss.item())


def test_a_constant_changes_nothing():
    student = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    teacher, mask = student.flip(1), torch.ones(3, 8, dtype=torch.bool)
    shifted = listed_first(student + torch.tensor([[5.0], [-3.0], [100.0]]), teacher, mask, listed=4)
    torch.testing.assert_close(shifted, listed_first(student, teacher, mask, listed=4), rtol=1e-4, atol=1e-5)


def test_gradient_raises_the_listed_alike_and_lowers_the_rest():
    """Prevents an order among the listed from being learned, which is left for later."""
    student = torch.zeros(1, 5, dtype=torch.float64, requires_grad=True)
    teacher, mask = torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0]]).double(), torch.ones(1, 5, dtype=torch.bool)
    listed_first(student, teacher, mask, listed=2).backward()
    assert student.grad.tolist() == [pytest.approx([-0.375, -0.375, 0.25, 0.25, 0.25])]
    assert torch.autograd.gradcheck(
        lambda s: listed_first(s, teacher, mask, listed=3), torch.randn(1, 5, dtype=torch.float64, requires_grad=True)
    )


def test_with_nothing_beside_the_list_there_is_nothing_to_learn():
    student = torch.randn(2, 3, requires_grad=True)
    loss = listed_first(student, student.detach(), torch.ones(2, 3, dtype=torch.bool), listed=3)
    loss.backward()
    assert loss.item() == 0
    assert not student.grad.any()


def test_weights_weigh_rows_and_wrong_settings_are_refused():
    student, teacher = torch.tensor([[0.0, 0.0], [9.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    mask = torch.ones(2, 2, dtype=torch.bool)
    loss = listed_first(student, teacher, mask, listed=1, weights=torch.tensor([1.0, 0.0]))
    assert loss.item() == pytest.approx(math.log(2))
    with pytest.raises(ValueError, match="listed of at least 1"):
        listed_first(student, teacher, mask, listed=0)
    with pytest.raises(ValueError, match="reduction"):
        listed_first(student, teacher, mask, listed=1, reduction="median")
    with pytest.raises(ValueError, match="weights"):
        listed_first(student, teacher, mask, listed=1, weights=torch.ones(1))
