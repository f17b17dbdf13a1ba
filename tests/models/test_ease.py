import numpy as np
import pytest

from distilrec.data import Interactions, zipf
from distilrec.errors import ModelError
from distilrec.models import EASE, EASEConfig, ease
from distilrec.scoring import Queries, Ragged
from distilrec.testing import ModelContract


class TestEASE(ModelContract):
    config = EASEConfig(reg=5.0)


class TestEASEWithRecency(ModelContract):
    config = EASEConfig(reg=5.0, recency_half_life=4.0)


def test_two_items_by_hand():
    """G + I = [[3, 1], [1, 2]], P = [[2, -1], [-1, 3]] / 5, so B_01 = 1/3 and B_10 = 1/2."""
    model = EASE(EASEConfig(reg=1.0), 2, 2)
    model.fit(Interactions(Ragged.from_rows([[0, 1], [0]]), n_items=2))
    queries = Queries(np.full(3, -1, np.int32), Ragged.from_rows([[0], [1], [0, 1]]))
    expected = [[0, 1 / 3], [1 / 2, 0], [1 / 2, 1 / 3]]
    np.testing.assert_allclose(model.score(queries).numpy(), expected, rtol=1e-6)


def test_each_column_is_a_ridge_regression_on_the_other_items():
    """A transposed B is just as plausible a matrix, and ranks worse."""
    log = zipf(30, 6, 90)
    x = (ease.history_matrix(log.histories, 6).toarray()).astype(np.float64)
    model = EASE(EASEConfig(reg=2.0), 30, 6)
    model.fit(log)
    for item in range(6):
        others = [other for other in range(6) if other != item]
        ridge = x[:, others].T @ x[:, others] + 2.0 * np.eye(5)
        expected = np.linalg.solve(ridge, x[:, others].T @ x[:, item])
        np.testing.assert_allclose(model.weights.numpy()[others, item], expected, atol=1e-5)


def test_a_history_counts_each_item_once():
    """Steck's X is binary; sums of repeats would weigh returning customers more, silently."""
    rows = Ragged.from_rows([[2, 0, 2], []])
    assert ease.history_matrix(rows, 3).toarray().tolist() == [[1, 0, 1], [0, 0, 0]]
    assert ease.history_matrix(rows, 3, half_life=1.0).toarray().tolist() == [[0.5, 0, 1], [0, 0, 0]]


def test_large_catalogues_are_refused_before_memory_runs_out(monkeypatch):
    monkeypatch.setattr(ease, "LARGEST_CATALOGUE", 5)
    with pytest.raises(ModelError, match="these data have 6"):
        EASE(EASEConfig(), 2, 6)


def weighed(rows, weights, n_items=2):
    return Interactions(Ragged.from_rows(rows), n_items, weights=np.array(weights, np.float32))


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        # X'X + I = [[2 + 1, 2], [2, 2]] + I, P = [[3, -2], [-2, 4]] / 8
        (weighed([[0, 1], [0]], [2, 2, 1]), [[0, 2 / 4], [2 / 3, 0]]),
        # x = (2, 1), X'X + I = [[5, 2], [2, 2]], P = [[2, -2], [-2, 5]] / 6
        (weighed([[0, 1], []], [4, 1]), [[0, 2 / 5], [1, 0]]),
    ],
    ids=["a user who counts twice", "one interaction that counts four times"],
)
def test_sample_weights_by_hand(log, expected):
    model = EASE(EASEConfig(reg=1.0), 2, 2)
    model.fit(log)
    np.testing.assert_allclose(model.weights.numpy(), expected, rtol=1e-6)


def test_a_user_of_weight_two_is_two_users():
    """Prevents weights that enter the Gram matrix squared, and look plausible."""
    rows = [[0, 1, 2], [1, 2], [0, 2]]
    models = [EASE(EASEConfig(reg=1.0, recency_half_life=2.0), n, 3) for n in (3, 4)]
    models[0].fit(weighed(rows, [2, 2, 2, 1, 1, 1, 1], 3))
    models[1].fit(Interactions(Ragged.from_rows([rows[0], *rows]), 3))
    np.testing.assert_allclose(*(model.weights.numpy() for model in models), rtol=1e-5)


def test_an_interaction_without_weight_was_not_taken():
    models = [EASE(EASEConfig(reg=1.0), 2, 3) for _ in range(2)]
    models[0].fit(weighed([[0, 1, 2], [1, 0, 1]], [1, 1, 0, 1, 3, 0], 3))
    models[1].fit(weighed([[0, 1], [1, 0]], [1, 1, 1, 3], 3))
    assert models[0].weights.equal(models[1].weights)
