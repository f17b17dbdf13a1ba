import pytest

from distilrec.metrics import TOP_K_METRICS
from distilrec.testing import MetricContract


class TestRecall(MetricContract):
    metric = staticmethod(TOP_K_METRICS["recall"])


class TestNDCG(MetricContract):
    metric = staticmethod(TOP_K_METRICS["ndcg"])


class TestMRR(MetricContract):
    metric = staticmethod(TOP_K_METRICS["mrr"])


class TestMAP(MetricContract):
    metric = staticmethod(TOP_K_METRICS["map"])


class TestHitRate(MetricContract):
    metric = staticmethod(TOP_K_METRICS["hit_rate"])


class TestPrecision(MetricContract):
    metric = staticmethod(TOP_K_METRICS["precision"])


class TestF1(MetricContract):
    metric = staticmethod(TOP_K_METRICS["f1"])


def test_every_metric_keeps_the_contract():
    """Prevents a new metric without its tests."""
    contracts = {contract.metric for contract in MetricContract.__subclasses__()}
    assert contracts == set(TOP_K_METRICS.values())


def test_the_contract_finds_a_metric_that_reads_beyond_its_cut_off():
    class Wrong(MetricContract):
        metric = staticmethod(lambda hits, n_relevant, k: hits.sum(1) / n_relevant.clip(1))

    with pytest.raises(AssertionError):
        Wrong().test_better_lists_score_no_less()
    Wrong.metric = staticmethod(TOP_K_METRICS["recall"])  # so that it isn't taken for a contract of its own
