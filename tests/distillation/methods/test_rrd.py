from typing import ClassVar

import torch

from distilrec.distillation.method import Setting
from distilrec.distillation.methods import RRD
from distilrec.testing import MethodContract


class TestRRD(MethodContract):
    method = RRD(interesting=6, uninteresting=10, pool=10, sharpness=5)


class TestRRDWithoutDrawing(MethodContract):
    method = RRD(interesting=8, uninteresting=20, pool=8)


class TestRRDOfAllScores(MethodContract):
    method = RRD(interesting=6, uninteresting=10, pool=10, sharpness=5)
    record: ClassVar = {"kind": "full"}


def test_stores_of_all_scores_are_read_as_lists(data, student, store, step):
    """Items in the order of their numbers would be taken for the teacher's best."""
    model, method = student(), RRD(interesting=8, pool=8, uninteresting=40)
    listed, full = store(kind="topk", k=8, tail=32), store(kind="full")
    losses = [method.term(Setting(model, data.train, labels, 0))(step(model, labels)) for labels in (listed, full)]
    torch.testing.assert_close(*losses)
