import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import _sigmoid_calibration

from distilrec.metrics import CLICK_METRICS, click, fit_platt

REFERENCES = {
    "accuracy": lambda y, p: reference.accuracy_score(y, p >= 0.5),
    "precision": lambda y, p: reference.precision_score(y, p >= 0.5, zero_division=0),
    "recall": lambda y, p: reference.recall_score(y, p >= 0.5, zero_division=0),
    "f1": lambda y, p: reference.f1_score(y, p >= 0.5, zero_division=0),
    "log_loss": lambda y, p: reference.log_loss(y, p, labels=[0, 1]),
    "auc": reference.roc_auc_score,
}


@st.composite
def pairs(draw):
    """Labels of both classes and probabilities with ties, zeros, ones and halves among them."""
    labels = np.array([0, 1, *draw(st.lists(st.integers(0, 1), max_size=30))])
    some = st.one_of(st.sampled_from([0.0, 0.5, 1.0, 0.25]), st.floats(0, 1))
    n = len(labels)
    return labels, np.array(draw(st.lists(some, min_size=n, max_size=n)))


@given(pairs())
@pytest.mark.parametrize("name", CLICK_METRICS)
def test_equals_scikit_learn(name, given_pairs):
    """Prevents values that differ from the field's reference, above all at ties, 0 and 1."""
    labels, probabilities = given_pairs
    assert CLICK_METRICS[name](labels, probabilities) == pytest.approx(
        REFERENCES[name](labels, probabilities), rel=0, abs=1e-9
    )


@pytest.mark.parametrize("name", CLICK_METRICS)
def test_bad_pairs_are_refused(name):
    metric = CLICK_METRICS[name]
    with pytest.raises(ValueError, match="one shape"):
        metric(np.array([[0], [1]]), np.array([0.1, 0.2]))
    with pytest.raises(ValueError, match="labels must be 0 or 1, given 4"):
        metric(np.array([0, 4]), np.array([0.1, 0.2]))
    with pytest.raises(ValueError, match="NaN or infinite"):
        metric(np.array([0, 1]), np.array([0.1, np.nan]))


def test_scores_are_not_taken_for_probabilities():
    """Prevents a log-loss of logits, which looks like a number."""
    with pytest.raises(ValueError, match="calibrate scores with fit_platt first"):
        click.log_loss(np.array([0, 1]), np.array([-3.0, 4.0]))


def test_auc_of_one_class_is_refused():
    """Prevents 0.5 from standing for `undefined` where only likes were recorded."""
    with pytest.raises(ValueError, match="2 ones and 0 zeros"):
        click.auc(np.array([1, 1]), np.array([0.1, 0.2]))


@settings(deadline=None)  # a busy machine is no failure
@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.sampled_from([1e-3, 1.0, 50.0]),
    shift=st.sampled_from([0.0, 30.0]),
)
def test_platt_equals_scikit_learn(seed, scale, shift):
    """Prevents a calibration that stops early on scores far from zero or of another unit."""
    rng = np.random.default_rng(seed)
    clean = rng.normal(size=200)
    labels = (rng.random(200) < 1 / (1 + np.exp(-2 * clean))).astype(int)
    platt = fit_platt(clean * scale + shift, labels)
    slope, intercept = _sigmoid_calibration(clean, labels)  # p = 1 / (1 + exp(slope x + intercept))
    expected = 1 / (1 + np.exp(slope * clean + intercept))
    np.testing.assert_allclose(platt(clean * scale + shift), expected, atol=2e-4)


def test_platt_zeroes_the_gradient():
    """A check that needs no reference: at the optimum, mean prediction equals mean target."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=500)
    labels = rng.random(500) < 0.3
    targets = np.where(labels, (labels.sum() + 1) / (labels.sum() + 2), 1 / ((~labels).sum() + 2))
    residual = fit_platt(scores, labels)(scores) - targets
    assert abs(residual.mean()) < 1e-10
    assert abs((residual * scores).mean()) < 1e-10


def test_platt_of_separable_scores_stays_finite():
    """Prevents an infinite slope, and so a log-loss of infinity on the first mistake."""
    platt = fit_platt(np.array([-1.0, -2.0, 1.0, 2.0]), np.array([0, 0, 1, 1]))
    assert 0 < platt.slope < 10


@pytest.mark.parametrize("labels", [[0, 1, 1, 1], [1, 1, 1, 1]])
def test_platt_of_constant_scores_is_the_base_rate(labels):
    labels = np.array(labels)
    platt = fit_platt(np.full(4, 7.0), labels)
    targets = np.where(labels, (labels.sum() + 1) / (labels.sum() + 2), 1 / ((1 - labels).sum() + 2))
    assert platt.slope == 0.0
    assert platt(np.array([7.0])) == pytest.approx(targets.mean())


def test_platt_is_stable_at_extreme_scores():
    platt = fit_platt(np.array([-1.0, 1.0]), np.array([0, 1]))
    assert platt(np.array([-1e6, 1e6])).tolist() == [0.0, 1.0]
