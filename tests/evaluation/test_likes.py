import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilrec.evaluation.likes import like_metrics
from distilrec.metrics import CLICK_METRICS


def drawn(seed, n_queries, pairs):
    """Pairs of users who differ in how much they like, and in how well their scores fit."""
    rng = np.random.default_rng(seed)
    rows = np.sort(np.concatenate([np.arange(n_queries), rng.integers(0, n_queries, pairs)]))
    level = rng.normal(size=n_queries)[rows]
    scores = (level + rng.normal(size=len(rows))).round(1)  # so that some tie
    labels = rng.random(len(rows)) < 1 / (1 + np.exp(-scores - level))
    labels[:2] = [True, False]
    return rows, labels, scores, 1 / (1 + np.exp(-scores))


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(0, 60))
def test_the_mean_over_queries_is_the_metric_over_all_pairs(seed, n_queries, pairs):
    """A mean of per-query metrics would weigh the pairs of quiet users more, and has no AUC for most of them."""
    rows, labels, scores, probabilities = drawn(seed, n_queries, pairs)
    values = like_metrics(rows, labels, scores, probabilities, n_queries)
    assert {name.removeprefix("like_") for name in values} == set(CLICK_METRICS)
    for name, metric in CLICK_METRICS.items():
        expected = metric(labels, scores if name == "auc" else probabilities)
        assert values[f"like_{name}"].mean() == pytest.approx(expected, abs=1e-9)
        assert values[f"like_{name}"].shape == (n_queries,)


def test_the_spread_is_that_of_drawing_whole_queries_anew():
    """Pairs counted as independent would give intervals that are too narrow where a user has many alike."""
    n_queries = 400
    rows, labels, scores, probabilities = drawn(0, n_queries, 2000)
    values = like_metrics(rows, labels, scores, probabilities, n_queries)
    rng, starts = np.random.default_rng(1), np.searchsorted(rows, np.arange(n_queries + 1))
    found = {name: [] for name in CLICK_METRICS}
    for _ in range(400):
        chosen = rng.integers(0, n_queries, n_queries)
        pairs = np.concatenate([np.arange(starts[q], starts[q + 1]) for q in chosen])
        for name, metric in CLICK_METRICS.items():
            found[name].append(metric(labels[pairs], (scores if name == "auc" else probabilities)[pairs]))
    for name, resampled in found.items():
        error = values[f"like_{name}"].std(ddof=1) / np.sqrt(n_queries)
        assert error == pytest.approx(np.std(resampled), rel=0.12)


def test_one_class_is_refused():
    """0.5 for `undefined` would look like a model that knows nothing."""
    with pytest.raises(ValueError, match="given 2 and 0"):
        like_metrics(np.array([0, 1]), np.array([True, True]), np.ones(2), np.ones(2), 2)


def test_nothing_predicted_as_liked_has_precision_0():
    rows, labels = np.array([0, 1]), np.array([True, False])
    values = like_metrics(rows, labels, np.zeros(2), np.full(2, 0.1), 2)
    assert values["like_precision"].tolist() == [0, 0]
    assert values["like_recall"].mean() == 0
