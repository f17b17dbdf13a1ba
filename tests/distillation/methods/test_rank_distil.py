from distilrec.distillation.methods import RankDistil
from distilrec.testing import MethodContract


class TestRankDistil(MethodContract):
    method = RankDistil(top=5)


class TestRankDistilOfAllScores(MethodContract):
    method = RankDistil(top=5)
    record = {"kind": "full"}
