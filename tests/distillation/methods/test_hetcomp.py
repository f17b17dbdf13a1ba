from distilrec.distillation.methods import HetComp
from distilrec.testing import MethodContract


class TestHetComp(MethodContract):
    method = HetComp(pool=10, compared=6, every=2)
