import torch

from distilrec.models import HistoryEncoderConfig, Supervision, build
from distilrec.testing import SequenceContract
from distilrec.training import TrainingConfig


class TestHistoryEncoder(SequenceContract):
    config = HistoryEncoderConfig(embedding_size=32, heads=2, history_length=8, dropout=0.1)
    training = TrainingConfig(epochs=30, evaluate_every=10, batch_size=32, learning_rate=0.02)


class TestWithSampledSoftmax(SequenceContract):
    config = HistoryEncoderConfig(embedding_size=32, heads=2, history_length=4, dropout=0.0)
    supervision = Supervision(loss="sampled_softmax", negatives=12)
    training = TrainingConfig(epochs=30, evaluate_every=10, batch_size=32, learning_rate=0.02)


def test_the_pooling_by_hand():
    """Weights that ran over the future, or over padding, would still sum to one."""
    config = HistoryEncoderConfig(embedding_size=2, heads=1, history_length=3, dropout=0.0)
    model = build(config, 1, 4, seed=0).eval()
    v = model.items[[2, 0]] * 2**0.5
    logits = v @ model.keys.weight[0] + model.distance_bias[0, [1, 0]]
    pooled = logits.softmax(0) @ v
    expected = torch.layer_norm(model.merge(pooled) + v[1], (2,))
    torch.testing.assert_close(model.states(model.embed(torch.tensor([[2, 0, -1]])))[0, 1], expected)
