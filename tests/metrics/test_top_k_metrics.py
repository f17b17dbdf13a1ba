"""All top-K metrics against trec_eval (through ir-measures) and by hand."""

import ir_measures
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilrec.errors import RecipeError
from distilrec.metrics import TOP_K_METRICS, Metric

REFERENCES = {
    "recall": ir_measures.R,
    "ndcg": ir_measures.nDCG,
    "mrr": ir_measures.RR,
    "map": ir_measures.AP,
    "hit_rate": ir_measures.Success,
    "precision": ir_measures.P,
}


@st.composite
def rankings(draw):
    """Hits (B, K), the number of relevant items (B,), at least as many as hits and at least one."""
    n_queries, depth = draw(st.integers(1, 6)), draw(st.integers(1, 25))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    hits = rng.random((n_queries, depth)) < draw(st.sampled_from([0.05, 0.3, 1.0]))
    return hits, np.maximum(hits.sum(1) + rng.integers(0, 10, n_queries), 1)


@given(ranking=rankings(), data=st.data())
@pytest.mark.parametrize("name", REFERENCES)
def test_equals_trec_eval(name, ranking, data):
    """Prevents a metric that carries a known name but other values than the field's reference."""
    hits, n_relevant = ranking
    k = data.draw(st.integers(1, hits.shape[1]))
    qrels, run = [], []
    for query, (row, n) in enumerate(zip(hits, n_relevant, strict=True)):
        found = [f"d{place}" for place in np.flatnonzero(row)]
        relevant = found + [f"missed{i}" for i in range(n - len(found))]
        qrels += [ir_measures.Qrel(str(query), item, 1) for item in relevant]
        # minus the rank as score, so that trec_eval's own order of ties plays no part
        run += [ir_measures.ScoredDoc(str(query), f"d{place}", float(-place)) for place in range(k)]
    # trec_eval has no cut-off for the reciprocal rank; the run is cut above
    measure = REFERENCES[name] if name == "mrr" else REFERENCES[name] @ k
    provider = ir_measures.pytrec_eval
    expected = {m.query_id: m.value for m in provider.iter_calc([measure], qrels, run)}
    got = Metric.parse(f"{name}@{k}")(hits, n_relevant)
    np.testing.assert_allclose(got, [expected[str(q)] for q in range(len(hits))], rtol=0, atol=1e-9)


@given(ranking=rankings())
def test_f1_is_the_harmonic_mean_of_precision_and_recall(ranking):
    hits, n_relevant = ranking
    k = hits.shape[1]
    p, r, f = (Metric.parse(f"{name}@{k}")(hits, n_relevant) for name in ("precision", "recall", "f1"))
    np.testing.assert_allclose(f * (p + r), 2 * p * r, atol=1e-12)
    assert (f[p + r == 0] == 0).all()


@given(ranking=rankings())
@pytest.mark.parametrize("name", TOP_K_METRICS)
def test_values_lie_in_the_unit_interval_and_are_one_per_query(name, ranking):
    hits, n_relevant = ranking
    values = Metric.parse(f"{name}@{hits.shape[1]}")(hits, n_relevant)
    assert values.shape == (len(hits),)
    assert values.dtype == np.float64
    assert ((values >= 0) & (values <= 1 + 1e-12)).all()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("recall", 2 / 4),
        ("precision", 2 / 3),
        ("f1", 4 / 7),
        ("hit_rate", 1.0),
        ("mrr", 1 / 2),
        ("map", (1 / 2 + 2 / 3) / 4),
        ("ndcg", (1 / np.log2(3) + 1 / 2) / (1 + 1 / np.log2(3) + 1 / 2)),
    ],
)
def test_by_hand(name, expected):
    """Hits at ranks 2, 3 and, beyond the cut-off, 4; four items are relevant."""
    hits = np.array([[False, True, True, True]])
    assert Metric.parse(f"{name}@3")(hits, np.array([4])) == pytest.approx(expected)


@pytest.mark.parametrize("name", TOP_K_METRICS)
def test_nothing_relevant_is_zero_not_nan(name):
    """Prevents one empty query from turning the mean into NaN."""
    hits = np.zeros((1, 3), dtype=bool)
    assert Metric.parse(f"{name}@3")(hits, np.array([0])) == [0.0]


@pytest.mark.parametrize("name", TOP_K_METRICS)
def test_shapes_are_checked(name):
    """Prevents (B, 1) against (B,) from broadcasting to (B, B)."""
    hits = np.zeros((2, 3), dtype=bool)
    with pytest.raises(ValueError, match="one number of relevant items"):
        TOP_K_METRICS[name](hits, np.array([[1], [1]]), 3)
    with pytest.raises(ValueError, match=r"must lie in 1\.\.3"):
        TOP_K_METRICS[name](hits, np.array([1, 1]), 4)
    with pytest.raises(ValueError, match="bool"):
        TOP_K_METRICS[name](hits.astype(float), np.array([1, 1]), 3)


@pytest.mark.parametrize("text", ["ndcg@10", "hit_rate@1"])
def test_a_name_parses_and_prints_the_same(text):
    assert str(Metric.parse(text)) == text


@pytest.mark.parametrize("text", ["ndcg", "ndcg@0", "ndcg@x", "ndcg@-1", "nope@5", "NDCG@5", "ndcg@5 "])
def test_other_names_are_refused(text):
    with pytest.raises(RecipeError, match="is unknown; write NAME@K"):
        Metric.parse(text)


def test_own_metrics_need_a_cut_off_of_at_least_one():
    with pytest.raises(RecipeError, match="at least 1, given 0"):
        Metric("mine", 0, TOP_K_METRICS["ndcg"])
