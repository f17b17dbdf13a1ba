import math
from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from distilrec.errors import SoftLabelError
from distilrec.losses import (
    cross_entropy,
    cross_entropy_with_logits,
    sampled_soft_label_kl,
    soft_label_kl,
    soft_label_kl_with_tail,
    tail_log_sum_exp,
)

SEEDS = st.integers(0, 10_000)
TEMPERATURES = st.floats(0.1, 20.0)


def scores(seed: int, rows: int = 3, items: int = 6) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Student, teacher and a full mask."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, rows, items, generator=generator, dtype=torch.float64) * 2
    return student.requires_grad_(), teacher, torch.ones(rows, items, dtype=torch.bool)


def sampled(student, teacher, mask, **options):
    inclusion = torch.linspace(0.2, 1.0, student.shape[1], dtype=student.dtype).expand_as(student)
    return sampled_soft_label_kl(student, teacher, mask, inclusion, **options)


def with_tail(student, teacher, mask, *, temperature=1.0, **options):
    """The candidates are given, and beside them four items, half a point under the best."""
    if len(student) == 0:
        return soft_label_kl(student, teacher, mask)
    tail = [(x.max(1, keepdim=True).values.detach() - 0.5).expand(-1, 4) for x in (student, teacher)]
    tail_student = (tail[0] / temperature).logsumexp(1)
    total = torch.cat([teacher.masked_fill(~mask, -torch.inf), tail[1]], dim=1)
    return soft_label_kl_with_tail(
        student,
        teacher,
        mask,
        tail_student,
        (total / temperature).logsumexp(1),
        temperature=temperature,
        **options,
    )


ALL = pytest.mark.parametrize("loss", [soft_label_kl, cross_entropy_with_logits, sampled, with_tail])
DIVERGENCES = pytest.mark.parametrize("loss", [soft_label_kl, sampled, with_tail])


def test_the_worked_example_of_the_mission():
    """-0.9 ln 0.8 - 0.1 ln 0.2, on probabilities and on logits; exchanged arguments give another value."""
    student, teacher = torch.tensor([[0.8, 0.2]]), torch.tensor([[0.9, 0.1]])
    expected = -0.9 * math.log(0.8) - 0.1 * math.log(0.2)
    assert round(expected, 5) == 0.36177
    assert cross_entropy(student, teacher).item() == pytest.approx(expected)
    mask = torch.ones(1, 2, dtype=torch.bool)
    assert cross_entropy_with_logits(student.log(), teacher.log(), mask).item() == pytest.approx(expected)


@given(SEEDS, TEMPERATURES)
def test_kl_equals_torch(seed, temperature):
    """Teacher and student exchanged is still a divergence."""
    student, teacher, mask = scores(seed)
    expected = F.kl_div(
        (student / temperature).log_softmax(1), (teacher / temperature).softmax(1), reduction="batchmean"
    )
    ours = soft_label_kl(student, teacher, mask, temperature=temperature)
    torch.testing.assert_close(ours, temperature**2 * expected)


@DIVERGENCES
@given(seed=SEEDS, temperature=TEMPERATURES)
def test_divergences_are_positive_and_vanish_at_the_teacher(loss, seed, temperature):
    student, teacher, mask = scores(seed)
    assert loss(student, teacher, mask, temperature=temperature).item() >= -1e-9
    own = loss(teacher, teacher, mask, temperature=temperature)
    torch.testing.assert_close(own, torch.zeros_like(own), atol=1e-9, rtol=0)


@ALL
@given(seed=SEEDS, shift=st.floats(-1e3, 1e3))
def test_scores_may_be_shifted(loss, seed, shift):
    """Scores are known up to a constant per row; a loss that depends on it transfers noise."""
    student, teacher, mask = scores(seed)
    torch.testing.assert_close(loss(student + shift, teacher - shift, mask), loss(student, teacher, mask))


@pytest.mark.parametrize("loss", [soft_label_kl, cross_entropy_with_logits, sampled])
@given(seed=SEEDS)
def test_padding_has_no_influence(loss, seed):
    """Padded candidates, whatever stands in them, must change neither the value nor the gradient."""
    student, teacher, mask = scores(seed)
    mask = mask & (torch.arange(6) < torch.tensor([[6], [4], [0]]))
    values, gradients = [], []
    for filler in (0.0, 1e30, math.nan, math.inf):
        x = student.detach().clone().requires_grad_()
        filled = torch.where(mask, x, filler), torch.where(mask, teacher, filler)
        value = loss(*filled, mask)
        value.backward()
        values.append(value.detach())
        gradients.append(x.grad)
        assert x.grad[~mask].abs().sum() == 0.0
    for value, gradient in zip(values[1:], gradients[1:], strict=True):
        torch.testing.assert_close(value, values[0])
        torch.testing.assert_close(gradient, gradients[0])


def test_tail_loss_ignores_what_stands_in_masked_places():
    student, teacher, mask = scores(0)
    mask[:, 4:] = False
    tail, total = torch.zeros(3, dtype=torch.float64), teacher.logsumexp(1)
    expected = soft_label_kl_with_tail(student, teacher, mask, tail, total)
    for filler in (1e30, math.nan, -math.inf):
        filled = torch.where(mask, student, filler), torch.where(mask, teacher, filler)
        torch.testing.assert_close(soft_label_kl_with_tail(*filled, mask, tail, total), expected)


@ALL
def test_rows_without_candidates_do_not_count(loss):
    """Averaging over them would scale the loss with the share of queries that have no label."""
    student, teacher, mask = scores(0)
    expected = loss(student[:2], teacher[:2], mask[:2])
    mask[2] = False
    torch.testing.assert_close(loss(student, teacher, mask), expected)


@ALL
def test_all_masked_gives_zero_and_no_gradient(loss):
    student, teacher, mask = scores(0)
    value = loss(student, teacher, ~mask)
    value.backward()
    assert value.item() == 0.0
    assert student.grad.abs().sum() == 0.0


@pytest.mark.parametrize("loss", [soft_label_kl, cross_entropy_with_logits, sampled])
def test_one_candidate_teaches_nothing(loss):
    student, teacher, mask = scores(0, items=1)
    value = loss(student, teacher, mask)
    value.backward()
    assert value.item() == 0.0
    assert student.grad.abs().sum() == 0.0


def test_ties_are_shared():
    """Teacher undecided between two, student for the first: the gradient moves it to the second."""
    student = torch.tensor([[1.0, 0.0]], requires_grad=True)
    soft_label_kl(student, torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool)).backward()
    assert student.grad[0, 0] > 0
    assert student.grad[0, 1].item() == pytest.approx(-student.grad[0, 0].item())


@ALL
def test_gradients_reach_the_student_only(loss):
    student, teacher, mask = scores(0)
    teacher.requires_grad_()
    loss(student, teacher, mask, temperature=2.0).backward()
    assert teacher.grad is None


@pytest.mark.parametrize("loss", [soft_label_kl, cross_entropy_with_logits, sampled])
def test_gradcheck(loss):
    student, teacher, mask = scores(0)
    mask[0, 3:] = False
    weights = torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: loss(x, teacher, mask, temperature=3.0, weights=weights), (student,))


def test_gradcheck_with_tail():
    student, teacher, _ = scores(0)
    items = torch.tensor([[0, 3], [1, 2], [5, 4]])
    some = torch.tensor([[True, True], [True, False], [False, False]])

    def loss(x):
        tail = tail_log_sum_exp(x, items, some, temperature=2.0)
        chosen = x.gather(1, items), teacher.gather(1, items)
        return soft_label_kl_with_tail(*chosen, some, tail, (teacher / 2).logsumexp(1), temperature=2.0)

    assert torch.autograd.gradcheck(loss, (student,))


def test_weights_select_rows():
    student, teacher, mask = scores(0)
    weights = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    expected = soft_label_kl(student[1:2], teacher[1:2], mask[1:2])
    torch.testing.assert_close(soft_label_kl(student, teacher, mask, weights=weights), expected)


def test_high_temperature_is_the_squared_distance_of_centred_scores():
    """Hinton et al., equation 4: the reason for the factor temperature^2."""
    student, teacher, mask = scores(0)
    difference = (teacher - teacher.mean(1, keepdim=True)) - (student - student.mean(1, keepdim=True))
    expected = difference.square().mean(1).mean() / 2
    ours = soft_label_kl(student, teacher, mask, temperature=1e4)
    torch.testing.assert_close(ours, expected, rtol=1e-3, atol=0)


def test_low_temperature_is_cross_entropy_with_the_teachers_best():
    student, teacher, mask = scores(0)
    tau = 1e-3
    expected = tau**2 * F.cross_entropy(student / tau, teacher.argmax(1))
    torch.testing.assert_close(soft_label_kl(student, teacher, mask, temperature=tau), expected)


@ALL
@pytest.mark.parametrize("spread", [200.0, 1e4, 1e8])
def test_float32_does_not_underflow(loss, spread):
    """log(softmax(x)) is -inf from a spread of 104 on; log_softmax isn't."""
    student = torch.tensor([[spread, 0.0, 1.0]], requires_grad=True)
    teacher = torch.tensor([[0.0, spread, 1.0]])
    value = loss(student, teacher, torch.ones(1, 3, dtype=torch.bool))
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()
    assert student.grad[0, 1] < 0 < student.grad[0, 0]


@ALL
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_broken_teacher_is_refused(loss, bad):
    """One NaN in the store would end up in every weight of the student."""
    student, teacher, mask = scores(0)
    teacher[1, 2] = bad
    with pytest.raises(SoftLabelError, match="NaN or infinite"):
        loss(student, teacher, mask)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (lambda s, t, m: (s[0], t, m), ValueError, "student_scores"),
        (lambda s, t, m: (s, t[:, :1], m), ValueError, "teacher_scores"),
        (lambda s, t, m: (s, t, m[:, :1]), ValueError, "mask"),
        (lambda s, t, m: (s, t, m.long()), TypeError, "bool"),
    ],
)
def test_shapes_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        soft_label_kl(*arguments(*scores(0)))


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
def test_temperature_must_be_positive(temperature):
    with pytest.raises(ValueError, match="temperature"):
        soft_label_kl(*scores(0), temperature=temperature)


def test_scores_are_not_taken_for_probabilities():
    with pytest.raises(SoftLabelError, match="cross_entropy_with_logits"):
        cross_entropy(torch.full((1, 2), 0.5), torch.tensor([[3.0, 1.0]]))


def test_a_student_probability_of_zero_stays_finite():
    loss = cross_entropy(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 0.5]]))
    assert loss.isfinite()


# The tail as a class


@given(SEEDS, TEMPERATURES)
def test_tail_equals_kl_on_merged_probabilities(seed, temperature):
    student, teacher, _ = scores(seed)
    items, mask = torch.tensor([[0, 3], [1, 2], [5, 4]]), torch.ones(3, 2, dtype=torch.bool)

    def merged(x):
        p = (x / temperature).softmax(1)
        return torch.cat([p.gather(1, items), p.scatter(1, items, 0.0).sum(1, keepdim=True)], dim=1)

    expected = F.kl_div(merged(student).log(), merged(teacher), reduction="batchmean") * temperature**2
    ours = soft_label_kl_with_tail(
        student.gather(1, items),
        teacher.gather(1, items),
        mask,
        tail_log_sum_exp(student, items, mask, temperature=temperature),
        (teacher / temperature).logsumexp(1),
        temperature=temperature,
    )
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-9)


def test_tail_without_items_is_the_plain_divergence():
    """With every item a candidate the tail is empty: neither NaN nor a class of its own."""
    student, teacher, mask = scores(0)
    items = torch.arange(6).expand(3, 6)
    tail = tail_log_sum_exp(student, items, mask)
    assert (tail == -torch.inf).all()
    ours = soft_label_kl_with_tail(student, teacher, mask, tail, teacher.logsumexp(1))
    torch.testing.assert_close(ours, soft_label_kl(student, teacher, mask))
    ours.backward()
    assert student.grad.isfinite().all()


def test_a_certain_student_still_learns_of_the_tail():
    """Subtracting the candidates from the log-sum-exp over all items leaves no gradient in float32 here."""
    student = torch.tensor([[40.0, 0.0, 0.0]], requires_grad=True)
    items, mask = torch.tensor([[0]]), torch.tensor([[True]])
    tail = tail_log_sum_exp(student, items, mask)
    teacher = torch.zeros(1, 3)
    soft_label_kl_with_tail(student[:, :1], teacher[:, :1], mask, tail, teacher.logsumexp(1)).backward()
    torch.testing.assert_close(student.grad, torch.tensor([[2 / 3, -1 / 3, -1 / 3]]))


def test_a_log_sum_exp_of_another_temperature_is_refused():
    """The candidates would hold more than all of the mass, and the tail would silently count for nothing."""
    teacher, mask = torch.tensor([[8.0, 6.0]]), torch.ones(1, 2, dtype=torch.bool)
    total = (teacher / 2).logsumexp(1)
    with pytest.raises(SoftLabelError, match="more than all"):
        soft_label_kl_with_tail(teacher, teacher, mask, torch.zeros(1), total)


def test_masked_candidates_stay_in_the_tail():
    """Padding repeats item 0; it must neither take it from the tail nor put it back."""
    x = torch.tensor([[1.0, 2.0, 3.0]])
    items = torch.tensor([[0, 2]])
    tail = tail_log_sum_exp(x, items, torch.tensor([[False, True]]))
    torch.testing.assert_close(tail, x[:, :2].logsumexp(1))
    tail = tail_log_sum_exp(x, torch.tensor([[0, 0]]), torch.tensor([[True, False]]))
    torch.testing.assert_close(tail, x[:, 1:].logsumexp(1))


# The sampled tail


@given(SEEDS, TEMPERATURES)
def test_samples_that_are_certain_give_the_plain_divergence(seed, temperature):
    student, teacher, mask = scores(seed)
    ours = sampled_soft_label_kl(student, teacher, mask, torch.ones_like(teacher), temperature=temperature)
    torch.testing.assert_close(ours, soft_label_kl(student, teacher, mask, temperature=temperature))


def test_the_tail_sums_are_unbiased():
    """Over all samples of 2 of 4 tail items, the mean of the estimated sums is the sum over all items."""
    _, teacher, _ = scores(3, rows=1)
    top, tail = teacher[:, :2], teacher[:, 2:]
    sums = []
    for pair in combinations(range(4), 2):
        estimate = torch.cat([top, tail[:, list(pair)]], dim=1)
        inclusion = torch.tensor([[1.0, 1.0, 0.5, 0.5]], dtype=torch.float64)
        # KL from a teacher that is all on candidate 0 is the student's log of its estimated normaliser.
        sure = torch.tensor([[1e4, 0.0, 0.0, 0.0]], dtype=torch.float64)
        loss = sampled_soft_label_kl(estimate, sure, torch.ones(1, 4, dtype=torch.bool), inclusion)
        sums.append((loss + teacher[0, 0]).exp())
    torch.testing.assert_close(torch.stack(sums).mean(), teacher.exp().sum())


@pytest.mark.parametrize("bad", [0.0, -0.1, 1.1, math.nan])
def test_impossible_inclusion_probabilities_are_refused(bad):
    student, teacher, mask = scores(0)
    inclusion = torch.ones_like(teacher)
    inclusion[0, 0] = bad
    with pytest.raises(SoftLabelError, match="inclusion_probability"):
        sampled_soft_label_kl(student, teacher, mask, inclusion)
    mask[0, 0] = False
    assert sampled_soft_label_kl(student, teacher, mask, inclusion).isfinite()
