import numpy as np
import pytest

from distilrec.data import Interactions, final_queries, prefix_queries
from distilrec.distillation.weights import query_weights
from distilrec.scoring import Ragged

# The last interaction of the first user is held out: of a log, parts share its arrays.
ROWS = Ragged(np.array([0, 4]), np.array([3, 6]), np.array([4, 1, 0, 8, 2, 3], np.int32))
WEIGHTS = np.array([1, 2, 6, 100, 5, 7], np.float32)


@pytest.fixture
def log():
    return Interactions(ROWS, n_items=9, weights=WEIGHTS)


def test_a_query_weighs_as_what_it_is_to_predict(log):
    """Prevents the weight of what was last seen, and that of a held-out item; ends weigh as users do on average."""
    queries, ids = prefix_queries(log, length=2)
    assert [queries.histories[n : n + 1].flat()[1].tolist() for n in range(5)] == [[4], [1], [1, 0], [2], [2, 3]]
    assert query_weights(log, ids).tolist() == [2, 6, 3, 7, 6]


def test_a_user_weighs_as_the_interactions_on_average(log):
    """A sum would give users of long histories more of the soft labels than they have without weights."""
    assert query_weights(log, final_queries(log)[1]).tolist() == [3, 6]
    assert WEIGHTS.tolist() == [1, 2, 6, 100, 5, 7]


def test_without_weights_all_weigh_one():
    log = Interactions(ROWS, n_items=9)
    assert query_weights(log, prefix_queries(log, length=2)[1]).tolist() == [1] * 5


def test_a_user_without_interactions_weighs_one():
    log = Interactions(Ragged.from_rows([[4, 1], []]), n_items=5, weights=np.array([1, 5], np.float32))
    assert query_weights(log, np.array([2, 3])).tolist() == [3.0, 1.0]
