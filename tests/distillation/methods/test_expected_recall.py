from distilrec.distillation import KL, DistillationConfig, distil
from distilrec.distillation.methods import ExpectedRecall
from distilrec.models import Supervision
from distilrec.testing import MethodContract


class TestExpectedRecall(MethodContract):
    """Each cluster has ten items, of which a user has seen three."""

    method = ExpectedRecall(weight=1, k=7, pool=20)


def test_it_stands_beside_soft_labels(data, labels, student):
    """The way in which it is meant to be used."""
    model = student()
    config = DistillationConfig(alpha=1.0, methods=(KL(), ExpectedRecall(k=5, pool=8)))
    curve = distil(model, data, labels(), config, Supervision(), TestExpectedRecall.training, seed=0)
    assert {"distillation", "expected_recall"} <= set(curve[-1].losses)
    assert curve[-1].losses["expected_recall"] < curve[0].losses["expected_recall"]
