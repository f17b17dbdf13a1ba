from distilrec.distillation.methods import RRD
from distilrec.testing import MethodContract


class TestRRD(MethodContract):
    method = RRD(interesting=6, uninteresting=10, pool=10, sharpness=5)


class TestRRDWithoutDrawing(MethodContract):
    method = RRD(interesting=8, uninteresting=20, pool=8)


class TestRRDOfAllScores(MethodContract):
    method = RRD(interesting=6, uninteresting=10, pool=10, sharpness=5)
    record = {"kind": "full"}
