import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from distilrec.losses import chunked, soft_label_kl_with_tail, softmax_cross_entropy, tail_log_sum_exp
from distilrec.losses.chunked import by_autograd, cross_entropy_, over_all_items

ROWS, N_ITEMS = 5, 7


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def targets(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows in order, items and weights; pairs may repeat, and rows may have none."""
    rng = torch.Generator().manual_seed(seed)
    rows = torch.randint(ROWS, (n,), generator=rng).sort().values
    return rows, torch.randint(N_ITEMS, (n,), generator=rng), normal(n, seed=seed).abs()


@settings(deadline=None)  # the first call of torch takes its time
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(0, 12),
    spread=st.sampled_from([0.0, 0.3]),
    temperature=st.sampled_from([1.0, 0.5, 4.0]),
)
def test_cross_entropy_equals_the_loss_by_autograd(seed, n, spread, temperature):
    """A gradient worked by hand that is off still goes down, to another place."""
    rows, items, weights = targets(n, seed)
    logits = (normal(ROWS, N_ITEMS, seed=seed + 1) * 3).requires_grad_()
    expected = weights.sum() * softmax_cross_entropy(logits / temperature, rows, items, weights, label_smoothing=spread)
    (gradient,) = torch.autograd.grad(expected, logits)
    overwritten = logits.detach().clone()
    value = cross_entropy_(overwritten, rows, items, weights, spread=spread, temperature=temperature)
    torch.testing.assert_close(value, expected.detach())
    torch.testing.assert_close(overwritten, gradient)


@given(
    seed=st.integers(0, 10_000),
    n_kept=st.integers(1, N_ITEMS - 1),
    spread=st.sampled_from([0.0, 0.3]),
    temperature=st.sampled_from([1.0, 0.5]),
)
def test_items_that_are_left_out_are_as_if_there_were_none(seed, n_kept, spread, temperature):
    order = torch.randperm(N_ITEMS, generator=torch.Generator().manual_seed(seed))
    kept, without = order[:n_kept].sort().values, order[n_kept:]
    rows, items, weights = targets(7, seed)
    items = items % n_kept
    logits = normal(ROWS, N_ITEMS, seed=seed + 1) * 3
    among = logits[:, kept].clone()
    options = {"spread": spread, "temperature": temperature}
    expected = cross_entropy_(among, rows, items, weights, **options)
    value = cross_entropy_(logits, rows, kept[items], weights, without=without, **options)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(logits[:, kept], among)
    assert logits[:, without].eq(0).all()


@given(
    seed=st.integers(0, 10_000),
    k=st.integers(1, N_ITEMS),
    temperature=st.sampled_from([1.0, 0.5, 3.0]),
    scale=st.sampled_from([0.1, 1.0, 5.0]),
)
def test_with_a_tail_it_equals_the_divergence_plus_the_teachers_entropy(seed, k, temperature, scale):
    """The tail's mass moves the gradient of every item, listed or not."""
    student = (normal(ROWS, N_ITEMS, seed=seed) * scale).requires_grad_()
    teacher = normal(ROWS, N_ITEMS, seed=seed + 1) * scale
    scores, items = teacher.topk(k, dim=1)
    mask = torch.rand(ROWS, k, generator=torch.Generator().manual_seed(seed)) < 0.8
    mask[:, 0] = True
    left = (
        tail_log_sum_exp(student, items, mask, temperature=temperature) - (student / temperature).logsumexp(1)
    ).exp()
    assume(bool(((left == 0) | (left > 1e-5)).all()))
    total = (teacher / temperature).logsumexp(1)
    expected = (
        ROWS
        / temperature**2
        * soft_label_kl_with_tail(
            student.gather(1, items),
            scores,
            mask,
            tail_log_sum_exp(student, items, mask, temperature=temperature),
            total,
            temperature=temperature,
        )
    )
    (gradient,) = torch.autograd.grad(expected, student)
    weights = (scores / temperature - total.unsqueeze(1)).exp() * mask
    tail = torch.where(mask.sum(1) < N_ITEMS, (1 - weights.sum(1)).clamp(min=0), 0.0)
    classes = torch.cat([weights, tail.unsqueeze(1)], dim=1)
    entropy = -torch.xlogy(classes, classes).sum()
    rows = torch.arange(ROWS).repeat_interleave(k)[mask.flatten()]
    overwritten = student.detach().clone()
    value = cross_entropy_(overwritten, rows, items[mask], weights[mask], tail=tail, temperature=temperature)
    torch.testing.assert_close(value, expected.detach() + entropy, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(overwritten, gradient, rtol=1e-5, atol=1e-6)


@given(seed=st.integers(0, 10_000), n=st.integers(1, 12), rows=st.integers(1, 6), biased=st.booleans())
def test_chunks_and_several_terms_change_nothing(seed, n, rows, biased):
    """An offset that is wrong from the second chunk on, or a term that reads another's gradient."""
    at, items, weights = targets(n, seed)
    hidden, vectors, bias = (
        normal(ROWS, 3, seed=seed),
        normal(N_ITEMS, 3, seed=seed + 1),
        normal(N_ITEMS, seed=seed + 2),
    )
    leaves = [x.requires_grad_() for x in ((hidden, vectors, bias) if biased else (hidden, vectors))]

    def first(logits, part):
        inside = (at >= part.start) & (at < part.stop)
        return cross_entropy_(logits, at[inside] - part.start, items[inside], weights[inside])

    def second(logits, part):
        return (logits.square() * hidden.detach()[part, :1]).sum()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunked, "CHUNK_BYTES", rows * N_ITEMS * 8)
        third = by_autograd(lambda logits, part: logits.sigmoid().sum())
        value = 2 * over_all_items(hidden, vectors, bias if biased else None, [first, by_autograd(second), third])
    logits = hidden @ vectors.T + (bias if biased else 0)
    expected = 2 * (
        weights.sum() * softmax_cross_entropy(logits, at, items, weights)
        + second(logits, slice(0, ROWS))
        + logits.sigmoid().sum()
    )
    torch.testing.assert_close(value, expected)
    for given_, wanted in zip(torch.autograd.grad(value, leaves), torch.autograd.grad(expected, leaves), strict=True):
        torch.testing.assert_close(given_, wanted)


def test_no_queries_cost_nothing():
    """A batch of users with one interaction each has no target."""
    hidden, vectors = torch.zeros(0, 3, requires_grad=True), torch.ones(4, 3, requires_grad=True)
    loss = over_all_items(hidden, vectors, None, [by_autograd(lambda logits, part: logits.sum())])
    loss.backward()
    assert loss.item() == 0
    assert vectors.grad.abs().sum() == 0


def test_extreme_logits_stay_finite():
    """exp() of 1e4, or a tail of which nothing is left, would be infinite."""
    logits = torch.tensor([[1e4, -1e4, 0.0]])
    one = torch.ones(1)
    value = cross_entropy_(logits, torch.tensor([0]), torch.tensor([0]), one * 0.5, tail=one * 0.5)
    assert bool(value.isfinite())
    assert bool(logits.isfinite().all())
