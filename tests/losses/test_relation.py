"""Relations between entities: who is like whom."""

import pytest
import torch
from torch.nn.functional import cosine_similarity

from distilrec.errors import SoftLabelError
from distilrec.losses import grouped_topology, topology


def draw(n, width, seed=0):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosines(vectors, others=None):
    others = vectors if others is None else others
    return cosine_similarity(vectors.unsqueeze(1), others.unsqueeze(0), dim=2)


def all_groups(student, teacher, mask=None, **options):
    """In two groups, in no order."""
    return grouped_topology(student, teacher, torch.arange(len(student)) * 7 % 3 % 2, mask, **options)


LOSSES = [topology, all_groups]


def value(loss, student, teacher, mask=None):
    student = student.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(given := loss(student, teacher, mask), student)
    return given.detach(), gradient


def test_by_hand():
    """Student: cosine .6 between the two; the teacher's is 0. Each pair counts in both orders."""
    student, teacher = torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[0.0, 2.0, 0.0], [1.0, 0.0, 0.0]])
    assert topology(student, teacher, reduction="sum").item() == pytest.approx(0.72)
    assert topology(student, teacher).item() == pytest.approx(0.36)


@pytest.mark.parametrize("widths", [(3, 9), (9, 3)])
def test_the_sum_without_pairs_is_that_over_pairs(widths):
    """The formula by which no pair is visited is easily off by a factor or a sign."""
    student, teacher = (draw(12, width, seed) for seed, width in enumerate(widths))
    student.requires_grad_()
    expected = (cosines(student) - cosines(teacher)).square().sum()
    given = topology(student, teacher, reduction="sum")
    torch.testing.assert_close(given, expected)
    torch.testing.assert_close(*(torch.autograd.grad(loss, student)[0] for loss in (given, expected)))


def test_groups_by_hand():
    """Of three in group 5 the teacher finds the first two alike; only their pair counts, and all six with prototypes.

    The loss of the others is turned by group numbers that aren't 0 and 1, and by an order that isn't that of groups.
    """
    student, teacher, groups = draw(4, 2), draw(4, 3, 1), torch.tensor([5, 2, 5, 5])
    teacher[0], teacher[2], teacher[3] = (
        torch.tensor(row, dtype=torch.float64) for row in ([1, 0, 0], [1, 1, 0], [-1, 0, 1])
    )
    members, alone = [0, 2, 3], [1]
    prototypes = [torch.stack([side[members].mean(0), side[alone].mean(0)]) for side in (student, teacher)]
    between = (cosines(prototypes[0], student) - cosines(prototypes[1], teacher)).square().sum()
    within = 2 * (cosines(student)[0, 2] - 0.5**0.5).square()
    torch.testing.assert_close(grouped_topology(student, teacher, groups, reduction="sum"), between + within)
    torch.testing.assert_close(grouped_topology(student, teacher, groups), between / 8 + within / 2)


def test_one_group_holds_all_pairs_that_are_alike():
    """With one group, and a teacher that finds all alike, what isn't of the prototype is the whole topology."""
    student, teacher = draw(7, 3), draw(7, 4, 1).abs()
    prototype = cosines(student.mean(0, keepdim=True), student) - cosines(teacher.mean(0, keepdim=True), teacher)
    given = grouped_topology(student, teacher, torch.zeros(7, dtype=torch.int64), reduction="sum")
    torch.testing.assert_close(given, topology(student, teacher, reduction="sum") + prototype.square().sum())


def test_nothing_flows_through_prototypes():
    """An entity that is alone in its group has nobody in it; its own prototype would pull at it all the same."""
    student, teacher = draw(2, 3), draw(2, 3, 1)
    groups = torch.tensor([0, 1])
    _, gradient = value(lambda s, t, m: grouped_topology(s, t, groups, m, reduction="sum"), student, teacher)
    # Each entity meets the other's prototype as a constant: half of what both being moved would give.
    _, both = value(lambda s, t, m: topology(s, t, m, reduction="sum"), student, teacher)
    torch.testing.assert_close(gradient, both / 2)


@pytest.mark.parametrize("loss", LOSSES)
def test_agreement_costs_nothing_and_gradients_lead_there(loss):
    """A loss whose sign is turned, or that compares lengths, which aren't relations."""
    teacher = draw(9, 4)
    turned = 3 * teacher @ torch.linalg.qr(draw(4, 4, 5))[0] * torch.arange(1, 10).unsqueeze(1)
    if loss is topology:
        assert abs(float(loss(turned, teacher))) < 1e-9
    student = draw(9, 4, 2)
    before, gradient = value(loss, student, teacher)
    assert value(loss, student - 0.1 * gradient, teacher)[0] < before
    assert value(loss, teacher, teacher)[0].abs() < 1e-9


@pytest.mark.parametrize("loss", LOSSES)
def test_it_is_a_mean(loss):
    """Lambda would depend on the size of the batch; a mean over pairs of all but an entity's own twin does not."""
    student, teacher = draw(40, 3), draw(40, 5, 1)
    once, twice = loss(student, teacher), loss(student.repeat(30, 1), teacher.repeat(30, 1))
    assert float(twice) == pytest.approx(float(once), rel=0.1)


@pytest.mark.parametrize("loss", LOSSES)
def test_masked_entities_have_no_say(loss):
    """Queries that weren't recorded would teach the relations of zeros."""
    student, teacher, mask = draw(12, 3), draw(12, 5, 1), torch.arange(12) < 8
    expected, inside = value(loss, student[:8], teacher[:8])
    for filler in (0.0, 1e9, torch.nan):
        given, gradient = value(loss, student, teacher.masked_fill(~mask.unsqueeze(1), filler), mask)
        torch.testing.assert_close(given, expected)
        torch.testing.assert_close(gradient[:8], inside)
        assert bool((gradient[8:] == 0).all())


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_degenerate_entities(loss, reduction):
    """NaN from nobody, from one entity, from vectors of zeros, and from extreme lengths."""
    student, teacher = draw(6, 3).float(), draw(6, 5, 1).float()
    none, one = torch.zeros(6, dtype=torch.bool), torch.arange(6) == 2
    for s, t, mask in (
        (student, teacher, none),
        (student, teacher, one),
        (torch.zeros_like(student), teacher, None),
        (student, torch.zeros_like(teacher), None),
        (student * 1e15, teacher * 1e-15, None),
    ):
        given, gradient = value(lambda *sides: loss(*sides, reduction=reduction), s, t, mask)
        assert bool(given.isfinite())
        assert bool(gradient.isfinite().all())
        if mask is not None:
            assert abs(float(given)) < 1e-6
            assert bool((gradient.abs() < 1e-6).all())


@pytest.mark.parametrize("loss", LOSSES)
def test_the_teacher_gets_no_gradient_and_the_student_the_right_one(loss):
    """A prototype is a constant in the formula, so its gradient is checked where groups have one member only."""
    student, teacher = draw(4, 3).requires_grad_(), draw(4, 5, 1).requires_grad_()
    loss(student, teacher).backward()
    assert teacher.grad is None
    assert torch.autograd.gradcheck(lambda s: topology(s, teacher, reduction="sum"), student)


@pytest.mark.parametrize("loss", LOSSES)
def test_arguments_that_do_not_fit_are_refused(loss):
    student, teacher = draw(4, 3), draw(4, 5, 1)
    with pytest.raises(ValueError, match="expected shape"):
        loss(student, teacher[:3])
    with pytest.raises(TypeError, match="bool"):
        loss(student, teacher, torch.ones(4))
    with pytest.raises(ValueError, match="reduction"):
        loss(student, teacher, reduction="median")
    with pytest.raises(SoftLabelError, match="NaN"):
        loss(student, teacher.where(teacher > teacher.min(), torch.nan))
    with pytest.raises(ValueError, match="grouped with others"):
        grouped_topology(student, teacher, torch.zeros(3, dtype=torch.int64))


def test_vectors_of_zeros_are_no_pairs_within_groups():
    """Prevents a mean over fewer pairs than there are: an item that nobody took has a vector of zeros by iALS."""
    teacher = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    student, groups = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 0, 1, 1, 1])
    whole = grouped_topology(student, teacher, groups, reduction="sum")
    cosine = torch.nn.functional.cosine_similarity(student[0], student[1], dim=0)
    within = 2 * (cosine - 1).square()
    expected = (whole - within) / 10 + within / 2
    torch.testing.assert_close(grouped_topology(student, teacher, groups), expected)
