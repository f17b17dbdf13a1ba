import numpy as np
import pytest
import torch

from distilrec.distillation.draw import gumbel, places_by_rank


def test_places_are_drawn_by_rank():
    """A sharpness that multiplies where it should divide still draws places."""
    mask = torch.ones(40_000, 6, dtype=torch.bool)
    drawn = places_by_rank(mask, 1, 2.0, np.random.default_rng(0)).flatten()
    expected = torch.softmax(-torch.arange(6) / 2.0, 0)
    torch.testing.assert_close(torch.bincount(drawn) / len(drawn), expected, atol=0.01, rtol=0)


def test_places_differ_ascend_and_leave_what_is_masked_for_last():
    """Places out of order would turn the teacher's order; a masked one takes the place of an item."""
    mask = torch.ones(200, 8, dtype=torch.bool)
    mask[:, 5:] = False
    drawn = places_by_rank(mask, 4, 3.0, np.random.default_rng(0))
    assert bool((drawn[:, 1:] > drawn[:, :-1]).all())
    assert bool((drawn < 5).all())
    assert bool(mask[:, places_by_rank(mask, 6, 3.0, np.random.default_rng(0))[0]][:, :5].all())


def test_without_drawing_nothing_is_drawn():
    """A generator that moves would give other bytes for a list that takes all."""
    rng = np.random.default_rng(0)
    assert places_by_rank(torch.ones(2, 3, dtype=torch.bool), 5, 1.0, rng).tolist() == [[0, 1, 2]] * 2
    assert rng.integers(1000) == np.random.default_rng(0).integers(1000)


def test_gumbel_noise_is_standard():
    """Noise of another scale draws by another temperature, noise of another sign from the wrong tail."""
    noise = gumbel((200_000,), np.random.default_rng(0)).double()
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.01)
    assert noise.var().item() == pytest.approx(np.pi**2 / 6, rel=0.02)
    assert ((noise - noise.mean()) ** 3).mean() > 0
