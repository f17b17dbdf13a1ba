from distilrec.distillation.methods import RankAggregation
from distilrec.testing import MethodContract


class TestRankAggregation(MethodContract):
    method = RankAggregation(pool=10, interesting=8)
