import pytest
import torch
from pydantic import ValidationError

from distilrec.models import SASRecConfig, Supervision
from distilrec.models.sasrec import distance_mask
from distilrec.testing import SequenceContract
from distilrec.training import TrainingConfig


class TestSASRec(SequenceContract):
    config = SASRecConfig(embedding_size=32, layers=1, history_length=8, dropout=0.1)
    training = TrainingConfig(epochs=30, evaluate_every=10, batch_size=32, learning_rate=0.02)


class TestSASRecAsPublished(SequenceContract):
    """Binary cross-entropy with sampled negatives; a history longer than the window."""

    config = SASRecConfig(embedding_size=32, layers=2, history_length=5, dropout=0.0)
    supervision = Supervision(loss="bce", negatives=4)
    training = TrainingConfig(epochs=30, evaluate_every=10, batch_size=32, learning_rate=0.02)


def test_distance_mask_entry_by_entry():
    """A mask that is transposed, or off by one, shows a state its target."""
    bias = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    mask = distance_mask(bias, 4)
    assert mask.shape == (2, 4, 4)
    for head in range(2):
        for i in range(4):
            for j in range(4):
                assert mask[head, i, j] == (bias[head, i - j] if j <= i else -torch.inf)


def test_distance_mask_passes_gradients_back_to_distances():
    bias = torch.zeros(1, 3, requires_grad=True)
    distance_mask(bias, 3).masked_fill(torch.ones(3, 3).triu(1) > 0, 0.0).sum().backward()
    assert bias.grad.tolist() == [[3.0, 2.0, 1.0]]


def test_heads_must_divide_the_width():
    with pytest.raises(ValidationError, match="3 heads can't share an embedding_size of 32"):
        SASRecConfig(embedding_size=32, heads=3)
