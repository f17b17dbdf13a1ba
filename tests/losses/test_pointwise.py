import math

import pytest
import torch
from torch.nn import functional as F

from distilrec.losses import soft_binary_cross_entropy
from distilrec.testing import LossContract


class TestSoftBinaryCrossEntropy(LossContract):
    loss = staticmethod(soft_binary_cross_entropy)


def everything(scores):
    return torch.ones_like(scores, dtype=torch.bool)


def test_by_hand():
    """The negative term is log(1 - sigmoid(s)); log(sigmoid(1 - s)) is another loss, and looks like one."""
    student, teacher = torch.tensor([[math.log(3)]]), torch.tensor([[2 * math.log(4)]])  # 3/4, and 4/5 at temperature 2
    loss = soft_binary_cross_entropy(student, teacher, everything(student), temperature=2.0)
    assert loss.item() == pytest.approx(-0.8 * math.log(0.75) - 0.2 * math.log(0.25))


def test_equals_torch():
    rng = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(4, 6, generator=rng), torch.randn(4, 6, generator=rng)
    ours = soft_binary_cross_entropy(student, teacher, everything(student), temperature=5.0)
    torch.testing.assert_close(ours, F.binary_cross_entropy_with_logits(student, (teacher / 5).sigmoid()))


def test_the_least_loss_is_where_the_probabilities_agree():
    """A temperature on both sides has its minimum elsewhere."""
    teacher = torch.tensor([[4.0, -2.0, 0.0]])
    student = (teacher / 5).requires_grad_()
    soft_binary_cross_entropy(student, teacher, everything(teacher), temperature=5.0).backward()
    torch.testing.assert_close(student.grad, torch.zeros(1, 3))


def test_the_limit_of_a_sure_teacher_is_the_hard_label():
    student = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    teacher = torch.tensor([[1.0, -1.0, -1.0], [-1.0, 1.0, 1.0]])
    hard = F.binary_cross_entropy_with_logits(student, (teacher > 0).float())
    torch.testing.assert_close(soft_binary_cross_entropy(student, teacher, everything(teacher), temperature=1e-3), hard)


def test_extreme_scores_keep_value_and_gradient():
    """log(sigmoid) alone is -inf from 104 on."""
    student = torch.tensor([[1e4, -1e4]], requires_grad=True)
    loss = soft_binary_cross_entropy(student, torch.tensor([[-50.0, 50.0]]), everything(student))
    loss.backward()
    assert loss.item() == pytest.approx(1e4)
    torch.testing.assert_close(student.grad, torch.tensor([[0.5, -0.5]]))


def test_gradcheck():
    student = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(3, 4, dtype=torch.float64)
    mask = torch.rand(3, 4) < 0.5
    assert torch.autograd.gradcheck(lambda x: soft_binary_cross_entropy(x, teacher, mask), (student,))


def test_a_wrong_temperature_is_refused():
    scores = torch.zeros(1, 2)
    with pytest.raises(ValueError, match="temperature"):
        soft_binary_cross_entropy(scores, scores, everything(scores), temperature=0.0)
