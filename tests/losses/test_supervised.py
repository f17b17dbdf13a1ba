import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from distilrec.losses import (
    binary_cross_entropy,
    bpr,
    sampled_softmax_cross_entropy,
    softmax_cross_entropy,
    unlikelihood,
)

ROWS, ITEMS = torch.tensor([0, 0, 2]), torch.tensor([1, 3, 0])


def logits(seed: int = 0, rows: int = 3, items: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, items, generator=generator, dtype=torch.float64).requires_grad_()


def test_softmax_equals_torch_target_by_target():
    """A normaliser taken from another row would still look like a loss."""
    x = logits()
    torch.testing.assert_close(softmax_cross_entropy(x, ROWS, ITEMS), F.cross_entropy(x[ROWS], ITEMS))


@given(st.integers(0, 1000), st.floats(0.0, 0.9))
def test_label_smoothing_equals_torch(seed, smoothing):
    """Smoothing over N - 1 instead of N items is a common slip."""
    x = logits(seed)
    ours = softmax_cross_entropy(x, ROWS, ITEMS, label_smoothing=smoothing)
    torch.testing.assert_close(ours, F.cross_entropy(x[ROWS], ITEMS, label_smoothing=smoothing))


def test_weights_make_a_weighted_mean():
    """Dividing by the number of targets would let lambda drift with the weights."""
    each = -logits().log_softmax(1)[ROWS, ITEMS]
    weights = torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64)
    expected = (each[0] + 2 * each[1]) / 3
    torch.testing.assert_close(softmax_cross_entropy(logits(), ROWS, ITEMS, weights), expected)


@pytest.mark.parametrize("loss", [softmax_cross_entropy, unlikelihood])
def test_nothing_to_learn_from_gives_zero_and_no_gradient(loss):
    """An empty batch or all-zero weights must not turn the weights of the model into NaN."""
    none = torch.zeros(0, dtype=torch.int64)
    for rows, items, weights in ((none, none, None), (ROWS, ITEMS, torch.zeros(3, dtype=torch.float64))):
        x = logits()
        value = loss(x, rows, items, weights)
        value.backward()
        assert value.item() == 0.0
        assert x.grad is not None
        assert x.grad.abs().sum() == 0.0


@pytest.mark.parametrize("loss", [softmax_cross_entropy, unlikelihood])
def test_gradients_of_softmax_losses(loss):
    assert torch.autograd.gradcheck(lambda x: loss(x, ROWS, ITEMS), (logits(),))


def test_softmax_survives_extreme_logits():
    """exp() before log() would overflow at 1e4."""
    x = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    loss = softmax_cross_entropy(x, torch.tensor([0]), torch.tensor([1]))
    loss.backward()
    assert loss.item() == pytest.approx(2e4)
    torch.testing.assert_close(x.grad, torch.tensor([[1.0, -1.0, 0.0]]))


def test_sampled_softmax_over_all_items_is_the_full_softmax():
    """Each item drawn once, accidental hits left out: any wrong correction or mask shows at once."""
    x = logits()
    sampled = torch.arange(4)
    ours = sampled_softmax_cross_entropy(
        x[ROWS, ITEMS],
        x,
        rows=ROWS,
        log_expected_count=torch.zeros(4, dtype=torch.float64),
        accidental=ITEMS.unsqueeze(1) == sampled,
    )
    torch.testing.assert_close(ours, softmax_cross_entropy(x, ROWS, ITEMS))


def test_log_q_makes_the_normaliser_unbiased():
    """Without it, or with the positive corrected too, the mean over draws isn't the sum over items."""
    x = torch.tensor([0.3, -1.0, 2.0, 0.5], dtype=torch.float64)
    q = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    draws = torch.cartesian_prod(torch.arange(4), torch.arange(4))  # S = 2, with replacement: 16 outcomes
    positive = x[0].expand(16)
    normaliser = torch.stack(
        [
            sampled_softmax_cross_entropy(
                positive[i : i + 1],
                x[draw].unsqueeze(0),
                log_expected_count=(2 * q[draw]).log().unsqueeze(0),
                accidental=(draw == 0).unsqueeze(0),
            )
            + x[0]
            for i, draw in enumerate(draws)
        ]
    ).exp()
    expected = (q[draws].prod(1) * normaliser).sum()
    torch.testing.assert_close(expected, x.exp().sum())


def test_sampled_softmax_gradient_with_all_samples_accidental():
    """The only candidate left is the target: loss 0, not NaN."""
    x = torch.tensor([1.5], requires_grad=True)
    loss = sampled_softmax_cross_entropy(x, torch.zeros(1, 2), accidental=torch.ones(1, 2, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0.0
    assert x.grad is not None
    assert x.grad.item() == 0.0


def test_bpr_by_hand():
    positive, negative = torch.tensor([1.0, 0.0], requires_grad=True), torch.tensor([0.0, 0.0])
    loss = bpr(positive, negative)
    assert loss.item() == pytest.approx((math.log1p(math.exp(-1)) + math.log(2)) / 2)
    loss.backward()
    assert positive.grad is not None
    assert (positive.grad < 0).all()  # descent raises the positive


def test_binary_cross_entropy_equals_torch():
    """The negative term is log(1 - sigmoid(s)), not log(sigmoid(1 - s)), which published code has."""
    positive, negative = logits(rows=5, items=1)[:, 0], logits(1, rows=5, items=3)
    ours = binary_cross_entropy(positive, negative)
    scores = torch.cat([positive.unsqueeze(1), negative], dim=1)
    labels = torch.zeros_like(scores)
    labels[:, 0] = 1.0
    torch.testing.assert_close(ours, F.binary_cross_entropy_with_logits(scores, labels))


@given(st.integers(0, 1000))
def test_unlikelihood_equals_its_definition(seed):
    x = logits(seed)
    expected = -torch.log(1 - x.softmax(1)[ROWS, ITEMS]).mean()
    torch.testing.assert_close(unlikelihood(x, ROWS, ITEMS), expected)


def test_unlikelihood_has_a_gradient_where_the_model_is_certain():
    """log(1 - p) is -inf in float32 from a lead of 17 on: the dislike would give NaN or teach nothing."""
    x = torch.tensor([[60.0, 0.0, 0.0]], requires_grad=True)
    loss = unlikelihood(x, torch.tensor([0]), torch.tensor([0]))
    loss.backward()
    assert loss.item() == pytest.approx(60.0 - math.log(2))
    torch.testing.assert_close(x.grad, torch.tensor([[1.0, -0.5, -0.5]]))


def test_unlikelihood_of_tied_best_items():
    """argmax names one of them; the other takes the other branch and must give the same."""
    x = torch.zeros(1, 2)
    for item in (0, 1):
        loss = unlikelihood(x, torch.tensor([0]), torch.tensor([item]))
        assert loss.item() == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: softmax_cross_entropy(torch.zeros(3), ROWS, ITEMS), "logits"),
        (lambda: softmax_cross_entropy(torch.zeros(3, 4), ROWS, ITEMS[:2]), "items"),
        (lambda: softmax_cross_entropy(torch.zeros(3, 4), ROWS, ITEMS, torch.ones(3, 1)), "weights"),
        (lambda: softmax_cross_entropy(torch.zeros(3, 4), ROWS, ITEMS, label_smoothing=1.0), "smoothing"),
        (lambda: bpr(torch.zeros(3, 1), torch.zeros(3)), "positive"),
        (lambda: bpr(torch.zeros(3), torch.zeros(3, 1)), "negative"),
        (lambda: binary_cross_entropy(torch.zeros(3), torch.zeros(3)), "negative"),
        (lambda: sampled_softmax_cross_entropy(torch.zeros(3), torch.zeros(2, 5)), "negatives"),
        (
            lambda: sampled_softmax_cross_entropy(torch.zeros(3), torch.zeros(3, 5), log_expected_count=torch.zeros(3)),
            "log_expected_count",
        ),
        (
            lambda: sampled_softmax_cross_entropy(
                torch.zeros(3), torch.zeros(3, 5), accidental=torch.zeros(3, 1, dtype=torch.bool)
            ),
            "accidental",
        ),
        (lambda: unlikelihood(torch.zeros(3, 1), ROWS, ITEMS), "at least 2 items"),
    ],
)
def test_shapes_are_refused_before_they_broadcast(call, message):
    """(B, 1) against (B,) silently gives (B, B)."""
    with pytest.raises(ValueError, match=message):
        call()
