from distilrec.losses import cross_entropy_with_logits, soft_label_kl
from distilrec.testing import LossContract


class TestSoftLabelKL(LossContract):
    loss = staticmethod(soft_label_kl)


class TestCrossEntropyWithLogits(LossContract):
    loss = staticmethod(cross_entropy_with_logits)
