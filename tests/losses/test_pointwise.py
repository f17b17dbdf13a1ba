import math

import pytest
import torch
from torch.nn import functional as F

from distilrec.errors import SoftLabelError
from distilrec.losses import soft_binary_cross_entropy, weighted_log_sigmoid
from distilrec.testing import LossContract

ALL = torch.ones(1, 2, dtype=torch.bool)


class TestSoftBinaryCrossEntropy(LossContract):
    loss = staticmethod(soft_binary_cross_entropy)


class TestSoftBinaryCrossEntropyAtAnotherTemperature(LossContract):
    @staticmethod
    def loss(student, teacher, mask):
        return soft_binary_cross_entropy(student, teacher, mask, temperature=3.0, shift=0.2)


def test_by_hand():
    """sigma(s) = 3/4 and 1/2, q = 2/3 and 1/4."""
    student, teacher = torch.tensor([[3.0, 1.0]]).log(), torch.tensor([[2.0, 1 / 3]]).log()
    first = -2 / 3 * math.log(3 / 4) - 1 / 3 * math.log(1 / 4)
    total = first + math.log(2)
    assert soft_binary_cross_entropy(student, teacher, ALL, reduction="sum").item() == pytest.approx(total)
    assert soft_binary_cross_entropy(student, teacher, ALL).item() == pytest.approx(total / 2)


def test_temperature_and_shift_are_the_teachers():
    """Applied to the student, too, they would leave it on another scale than the true labels want."""
    teacher = torch.tensor([[5.0, -3.0]])
    student = ((teacher + 1) / 2).requires_grad_()
    soft_binary_cross_entropy(student, teacher, ALL, temperature=2.0, shift=1.0).backward()
    assert student.grad.abs().max().item() < 1e-7


def test_gradient_is_the_error_of_the_probability():
    student = torch.tensor([[0.0, 0.0]], requires_grad=True)
    soft_binary_cross_entropy(student, torch.tensor([[3.0, 1 / 3]]).log(), ALL, reduction="sum").backward()
    assert student.grad.tolist() == [pytest.approx([-0.25, 0.25])]
    assert torch.autograd.gradcheck(
        lambda s: soft_binary_cross_entropy(s, torch.ones(2, 3, dtype=torch.float64), torch.ones(2, 3) > 0),
        torch.randn(2, 3, dtype=torch.float64, requires_grad=True),
    )


def test_extreme_temperatures():
    """Cold targets are 0 or 1, hot ones 1/2; neither may be NaN."""
    student, teacher = torch.zeros(1, 2, requires_grad=True), torch.tensor([[1.0, -1.0]])
    for temperature in (1e-30, 1e30):
        loss = soft_binary_cross_entropy(student, teacher, ALL, temperature=temperature)
        assert loss.item() == pytest.approx(math.log(2))
    for temperature in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="temperature"):
            soft_binary_cross_entropy(student, teacher, ALL, temperature=temperature)


def test_weights_weigh_rows():
    student, teacher, weights = torch.tensor([[0.0, 0.0], [9.0, 9.0]]), torch.zeros(2, 2), torch.tensor([2.0, 0.0])
    mask = ALL.expand(2, -1)
    loss = soft_binary_cross_entropy(student, teacher, mask, weights=weights)
    assert loss.item() == pytest.approx(math.log(2))
    loss = soft_binary_cross_entropy(student, teacher, mask, weights=weights, reduction="sum")
    assert loss.item() == pytest.approx(4 * math.log(2))


def test_log_sigmoid_by_hand():
    """sigma(s) = 3/4 and 1/2; the second row is masked, and the first isn't halved for it."""
    student = torch.tensor([[3.0, 1.0], [1.0, 1.0]]).log()
    weights = torch.tensor([[0.5, 0.25], [7.0, 7.0]])
    mask = torch.tensor([[True, True], [False, False]])
    expected = -0.5 * math.log(3 / 4) + 0.25 * math.log(2)
    assert weighted_log_sigmoid(student, weights, mask).item() == pytest.approx(expected)
    assert weighted_log_sigmoid(student, weights, mask, reduction="sum").item() == pytest.approx(expected)
    twice = weighted_log_sigmoid(student[:1].repeat(2, 1), weights[:1].repeat(2, 1), mask[:1].repeat(2, 1))
    assert twice.item() == pytest.approx(expected)


def test_log_sigmoid_only_raises_scores_and_leaves_what_is_masked():
    student = torch.tensor([[0.0, torch.nan, -200.0, 200.0]], requires_grad=True)
    weights = torch.tensor([[1.0, torch.nan, 1.0, 1.0]])
    weighted_log_sigmoid(student, weights, torch.tensor([[True, False, True, True]])).backward()
    assert student.grad.tolist() == [pytest.approx([-0.5, 0.0, -1.0, 0.0])]


def test_weights_of_places_get_no_gradient():
    """Ranks that could be learned would be made worse until nothing is weighed."""
    student, weights = torch.zeros(1, 2, requires_grad=True), torch.ones(1, 2, requires_grad=True)
    weighted_log_sigmoid(student, weights, ALL).backward()
    assert weights.grad is None


def test_rows_count_as_they_weigh():
    """Two rows of log 2 times their place's weight: (1 * .5 + 3 * 1) log 2 / 4."""
    places, mask = torch.tensor([[0.5], [1.0], [9.0]]), torch.tensor([[True], [True], [False]])
    loss = weighted_log_sigmoid(torch.zeros(3, 1), places, mask, weights=torch.tensor([1.0, 3.0, 5.0]))
    assert loss.item() == pytest.approx(3.5 / 4 * math.log(2))
    with pytest.raises(ValueError, match="weights would multiply other rows"):
        weighted_log_sigmoid(torch.zeros(3, 1), places, mask, weights=torch.ones(2))


def test_arguments_that_do_not_fit_are_refused():
    student = torch.zeros(1, 2)
    with pytest.raises(ValueError, match="place_weights"):
        weighted_log_sigmoid(student, torch.ones(2), ALL)
    with pytest.raises(ValueError, match="at least 0"):
        weighted_log_sigmoid(student, -torch.ones(1, 2), ALL)
    with pytest.raises(SoftLabelError, match="NaN"):
        weighted_log_sigmoid(student, torch.full((1, 2), torch.nan), ALL)
    for loss in (weighted_log_sigmoid, soft_binary_cross_entropy):
        with pytest.raises(ValueError, match="reduction"):
            loss(student, student, ALL, reduction="median")


def everything(scores):
    return torch.ones_like(scores, dtype=torch.bool)


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
