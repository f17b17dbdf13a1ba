import math
from itertools import permutations

import pytest
import torch

from distilrec.losses import ordered_plackett_luce, permutation_cross_entropy, plackett_luce
from distilrec.testing import LossContract


class TestPlackettLuce(LossContract):
    loss = staticmethod(plackett_luce)


class TestPlackettLuceOfThree(LossContract):
    @staticmethod
    def loss(student, teacher, mask):
        return plackett_luce(student, teacher, mask, listed=3)


class TestPermutationCrossEntropy(LossContract):
    @staticmethod
    def loss(student, teacher, mask):
        return permutation_cross_entropy(student, teacher, mask, torch.zeros(2, *student.shape), top=3)


class TestPermutationCrossEntropyWithOthers(LossContract):
    @staticmethod
    def loss(student, teacher, mask):
        noise, others = torch.zeros(1, *student.shape), torch.zeros(len(student))
        return permutation_cross_entropy(student, teacher, mask, noise, top=9, others=others)


def test_by_hand():
    """The teacher lists the third item, then the first; the second comes below. exp s = 2, 1, 5."""
    student = torch.tensor([[2.0, 1.0, 5.0]]).log()
    teacher, mask = torch.tensor([[0.5, 0.1, 0.9]]), torch.ones(1, 3, dtype=torch.bool)
    loss = plackett_luce(student, teacher, mask, listed=2, reduction="sum")
    assert loss.item() == pytest.approx(-math.log(5 / 8) - math.log(2 / 3))
    assert plackett_luce(student, teacher, mask, listed=2).item() == pytest.approx(loss.item() / 2)


def test_probabilities_of_all_orders_add_up_to_one():
    """A normaliser that counts a place too many or too few gives a loss all the same."""
    student = torch.tensor([[0.3, -1.0, 2.0, 0.7]], dtype=torch.float64)
    mask = torch.ones(1, 4, dtype=torch.bool)
    total = 0.0
    for order in permutations(range(4)):
        teacher = torch.empty(1, 4, dtype=torch.float64)
        teacher[0, list(order)] = torch.arange(4.0, 0, -1, dtype=torch.float64)
        total += math.exp(-plackett_luce(student, teacher, mask, reduction="sum").item())
    assert total == pytest.approx(1)


def test_a_constant_changes_nothing():
    student = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    teacher, mask = student.flip(1), torch.ones(3, 8, dtype=torch.bool)
    shifted = plackett_luce(student + torch.tensor([[5.0], [-3.0], [100.0]]), teacher, mask, listed=4)
    torch.testing.assert_close(shifted, plackett_luce(student, teacher, mask, listed=4), rtol=1e-4, atol=1e-5)


def test_gradient_raises_the_list_and_lowers_the_rest():
    student = torch.zeros(1, 5, requires_grad=True)
    teacher = torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0]])
    plackett_luce(student, teacher, torch.ones(1, 5, dtype=torch.bool), listed=1).backward()
    assert student.grad.tolist() == [pytest.approx([-0.8, 0.2, 0.2, 0.2, 0.2])]
    assert torch.autograd.gradcheck(
        lambda s: plackett_luce(s, teacher.double(), torch.ones(1, 5, dtype=torch.bool), listed=3),
        torch.randn(1, 5, dtype=torch.float64, requires_grad=True),
    )


def test_weights_weigh_rows():
    student, teacher = torch.tensor([[0.0, 0.0], [9.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    loss = plackett_luce(student, teacher, torch.ones(2, 2, dtype=torch.bool), weights=torch.tensor([1.0, 0.0]))
    assert loss.item() == pytest.approx(math.log(2) / 2)


def test_wrong_settings_are_refused():
    scores, mask = torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match="listed of at least 1"):
        plackett_luce(scores, scores, mask, listed=0)
    with pytest.raises(ValueError, match="reduction"):
        plackett_luce(scores, scores, mask, reduction="median")
    with pytest.raises(ValueError, match="weights"):
        plackett_luce(scores, scores, mask, weights=torch.ones(2))


def test_others_never_take_a_ranked_place():
    """In a row with fewer ranked candidates the next ones would be learned as the teacher's best."""
    ranked, others = torch.tensor([[2.0, 7.0], [2.0, 1.0]]).log(), torch.tensor([[1.0, 5.0], [1.0, 9.0]]).log()
    ranked_mask, other_mask = torch.tensor([[True, False], [True, True]]), torch.tensor([[True, True], [True, False]])
    loss = ordered_plackett_luce(ranked, ranked_mask, others, other_mask, reduction="sum")
    assert loss.item() == pytest.approx(-math.log(2 / 8) - math.log(2 / 4) - math.log(1 / 2))
    mean = ordered_plackett_luce(ranked, ranked_mask, others, other_mask)
    assert mean.item() == pytest.approx((-math.log(2 / 8) + (-math.log(2 / 4) - math.log(1 / 2)) / 2) / 2)


def test_ordered_equals_sorted():
    student = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(3, 8, dtype=torch.bool)
    order = torch.arange(8.0, 0, -1).expand(3, -1)
    ordered = ordered_plackett_luce(student[:, :5], mask[:, :5], student[:, 5:], mask[:, 5:])
    torch.testing.assert_close(ordered, plackett_luce(student, order, mask, listed=5))


def test_rows_without_ranked_candidates_give_nothing():
    """NaN from a row with nothing to correct would end the training of all."""
    scores, none = torch.randn(2, 3, requires_grad=True), torch.zeros(2, 3, dtype=torch.bool)
    for others in (none, ~none):
        loss = ordered_plackett_luce(scores, none, scores * 1e4, others)
        loss.backward()
        assert loss.item() == 0
        assert bool((scores.grad == 0).all())
    with pytest.raises(ValueError, match="other_scores"):
        ordered_plackett_luce(scores, none, scores[:1], none[:1])
    with pytest.raises(TypeError, match="bool"):
        ordered_plackett_luce(scores, none.float(), scores, none)


def gumbel(*shape):
    return -torch.empty(shape, dtype=torch.float64).exponential_(generator=torch.Generator().manual_seed(0)).log()


def test_without_noise_the_permutation_is_the_teachers_order():
    student, teacher = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    mask = torch.rand(5, 7, generator=torch.Generator().manual_seed(1)) < 0.7
    loss = permutation_cross_entropy(student, teacher, mask, torch.zeros(1, 5, 7), top=3)
    torch.testing.assert_close(loss, plackett_luce(student, teacher, mask, listed=3))


def test_permutations_by_hand():
    """The value that TF-Ranking's test gives for these permutations, over three places."""
    student = torch.tensor([[1.0, 3.0, 2.0], [1.0, 2.0, 3.0]]).log()
    teacher = torch.tensor([[0.0, 2.0, 1.0], [1.0, 0.0, 2.0]])
    drawn = torch.tensor([[[-5.1, -5.8, 0.0], [-4.38, -4.4, 0.0]]])  # noise and score: third, first, second
    mask = torch.ones(2, 3, dtype=torch.bool)
    loss = permutation_cross_entropy(student, teacher, mask, drawn - teacher, top=3)
    expected = -(math.log(2 / 6) + math.log(1 / 4) + math.log(3 / 6) + math.log(1 / 3)) / 2
    assert 3 * loss.item() == pytest.approx(expected, rel=1e-5)


def test_permutations_are_drawn_by_the_teachers_softmax():
    """Noise that is added to the student's scores, or not at all, gives a loss all the same."""
    student, teacher = torch.tensor([[0.3, -1.0, 2.0]]).double(), torch.tensor([[1.0, 0.2, -0.5]]).double()
    mask, expected = torch.ones(1, 3, dtype=torch.bool), 0.0
    for order in permutations(range(3)):
        place = torch.empty(1, 3, dtype=torch.float64)
        place[0, list(order)] = torch.arange(3.0, 0, -1, dtype=torch.float64)
        costs = [plackett_luce(scores, place, mask, listed=2).item() for scores in (teacher, student)]
        probability = math.exp(-plackett_luce(teacher, place, mask, reduction="sum").item())
        expected += probability * costs[1]
    loss = permutation_cross_entropy(student, teacher, mask, gumbel(20_000, 1, 3), top=2)
    assert loss.item() == pytest.approx(expected, abs=0.02)


def test_others_come_after_all_candidates():
    """Left out of the sums, what isn't listed may keep a higher score than what is."""
    student, teacher = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))
    teacher[:, 5:] = -1e4
    mask = torch.ones(3, 8, dtype=torch.bool)
    noise = gumbel(4, 3, 8).float()
    whole = permutation_cross_entropy(student, teacher, mask, noise, top=2)
    others = student[:, 5:].logsumexp(1)
    parts = student[:, :5], teacher[:, :5], mask[:, :5], noise[:, :, :5]
    torch.testing.assert_close(permutation_cross_entropy(*parts, top=2, others=others), whole)


def test_gradient_of_permutations():
    mask, teacher = torch.ones(2, 5, dtype=torch.bool), torch.zeros(2, 5)
    mask[1, 2:] = False
    others = torch.randn(2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda s, o: permutation_cross_entropy(s, teacher, mask, gumbel(3, 2, 5), top=3, others=o),
        (torch.randn(2, 5, dtype=torch.float64, requires_grad=True), others),
    )


def test_permutations_with_wrong_settings_are_refused():
    scores, mask = torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="top of at least 1"):
        permutation_cross_entropy(scores, scores, mask, torch.zeros(1, 2, 3), top=0)
    with pytest.raises(ValueError, match="noise"):
        permutation_cross_entropy(scores, scores, mask, torch.zeros(2, 3), top=1)
    with pytest.raises(ValueError, match="others"):
        permutation_cross_entropy(scores, scores, mask, torch.zeros(1, 2, 3), top=1, others=torch.zeros(1))
    with pytest.raises(ValueError, match="weights"):
        permutation_cross_entropy(scores, scores, mask, torch.zeros(1, 2, 3), top=1, weights=torch.zeros(1))
