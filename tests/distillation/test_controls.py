import numpy as np
import pytest
import torch

from distilrec.data import final_queries
from distilrec.distillation import HardPositives, ShuffledLabels


def test_shuffled_labels_are_those_of_others(data, labels):
    """A permutation that keeps each label in place would make the control equal the method."""
    store = labels()
    _, ids = final_queries(data.train)
    shuffled = ShuffledLabels(store, seed=0)
    rows = shuffled.rows(ids)
    assert sorted(rows) == sorted(store.rows(ids))
    assert (rows != store.rows(ids)).mean() > 0.5
    assert np.array_equal(rows, ShuffledLabels(store, seed=0).rows(ids))
    assert shuffled.rows(np.array([10_000])).tolist() == [-1]


def test_shuffled_items_have_the_vectors_of_others(labels):
    """Methods that copy item vectors would else learn true ones from a control that is to know nothing."""
    store = labels(kind="factored")
    shuffled = ShuffledLabels(store, seed=0)
    assert sorted(map(tuple, shuffled.item_features)) == sorted(map(tuple, store.item_vectors))
    assert (shuffled.item_features != store.item_vectors).any(axis=1).mean() > 0.5
    assert np.array_equal(shuffled.item_vectors, store.item_vectors)
    rows, items = np.array([0, 3]), np.array([[1, 2], [4, 0]])
    assert torch.equal(shuffled.scores(rows, items), store.scores(rows, items))


@pytest.mark.parametrize("kind", ["topk", "full"])
def test_hard_positives_are_the_best_items_with_equal_shares(labels, kind):
    """Kind `full` lists items by number, so its first ones are no best ones."""
    store = labels(kind=kind)
    rows = np.array([0, 5, -1])
    real, hard = store.batch(rows), HardPositives(store, k=3).batch(rows)
    assert hard.mask.sum(1).tolist() == [3, 3, 0]
    assert not hard.tail_mask.any()
    for row in range(2):
        lowest = real.scores[row][hard.mask[row]].min()
        assert lowest >= real.scores[row][real.mask[row] & ~hard.mask[row]].max()
        assert (hard.items[row][hard.mask[row]] % 4).tolist() == [rows[row] % 4] * 3
    for temperature in hard.temperatures:
        p = (hard.scores / temperature - hard.log_sum_exp_at(temperature).unsqueeze(1)).exp()
        torch.testing.assert_close(p[:2][hard.mask[:2]], torch.full((6,), 1 / 3))
