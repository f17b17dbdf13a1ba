import numpy as np
import pytest

from distilrec.data import Interactions
from distilrec.models import ItemKNN, ItemKNNConfig, item_knn
from distilrec.scoring import Queries, Ragged
from distilrec.testing import ModelContract

LOG = Interactions(Ragged.from_rows([[0, 1], [1, 0], [0, 2]]), n_items=4)


class TestItemKNN(ModelContract):
    config = ItemKNNConfig(neighbours=20, shrink=1.0)


def scores(config: ItemKNNConfig, history: list[int], log: Interactions = LOG) -> list[float]:
    model = ItemKNN(config, log.n_users, log.n_items)
    model.fit(log)
    return model.score(Queries(np.array([-1], np.int32), Ragged.from_rows([history])))[0].tolist()


def test_cosines_by_hand():
    """c_0 = 3, c_1 = 2, c_2 = 1, c_01 = 2, c_02 = 1; an item is not its own neighbour."""
    config = ItemKNNConfig(shrink=0.0)
    assert scores(config, [0]) == pytest.approx([0, 2 / 6**0.5, 1 / 3**0.5, 0])
    assert scores(config, [1, 2]) == pytest.approx([2 / 6**0.5 + 1 / 3**0.5, 0, 0, 0])
    assert scores(ItemKNNConfig(shrink=1.0), [0])[1] == pytest.approx(2 / (6**0.5 + 1))


def test_only_the_nearest_neighbours_are_kept():
    assert scores(ItemKNNConfig(shrink=0.0, neighbours=1), [0]) == pytest.approx([0, 2 / 6**0.5, 0, 0])


def test_recency_weighs_the_history():
    config = ItemKNNConfig(shrink=0.0, recency_half_life=1.0)
    assert scores(config, [2, 1])[0] == pytest.approx(0.5 / 3**0.5 + 2 / 6**0.5)


def test_users_are_counted_once_however_often_they_return():
    """Repeats counted as users would give cosines above 1."""
    repeated = Interactions(Ragged.from_rows([[0, 0, 1], [1, 0, 1], [0, 2, 2]]), n_items=4)
    assert scores(ItemKNNConfig(shrink=0.0), [0], repeated) == pytest.approx(scores(ItemKNNConfig(shrink=0.0), [0]))


def test_blocks_of_items_change_nothing(monkeypatch):
    """An offset that is wrong from the second block on shows on large catalogues only."""
    expected = scores(ItemKNNConfig(), [0, 2])
    monkeypatch.setattr(item_knn, "BLOCK_VALUES", 1)
    assert scores(ItemKNNConfig(), [0, 2]) == expected


def test_sample_weights_by_hand():
    """c_0 = 4 + 1, c_1 = 1, c_2 = 3, c_01 = sqrt(4 * 1), c_02 = sqrt(1 * 3)."""
    weights = np.array([4, 1, 1, 3], np.float32)
    log = Interactions(Ragged.from_rows([[0, 1], [0, 2]]), n_items=3, weights=weights)
    assert scores(ItemKNNConfig(shrink=0.0), [0], log) == pytest.approx([0, 2 / 5**0.5, 3**0.5 / 15**0.5])
    assert scores(ItemKNNConfig(shrink=1.0), [0], log)[1] == pytest.approx(2 / (5**0.5 + 1))
