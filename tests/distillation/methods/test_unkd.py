from distilrec.distillation.methods import UnKD
from distilrec.testing import MethodContract


class TestUnKD(MethodContract):
    method = UnKD(groups=2, pool=12, sharpness=5)
    record = {"kind": "factored"}


class TestUnKDOfAllScores(MethodContract):
    method = UnKD(groups=2, pool=12, sharpness=5)
    record = {"kind": "full"}
