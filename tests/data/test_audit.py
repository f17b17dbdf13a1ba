"""The audit finds each leak that was put in, and is silent where there is none."""

import numpy as np
import pytest

from distilrec.data import GlobalTime, Interactions, LeaveLastOut, Split, audit, clusters, split
from distilrec.rng import generator
from distilrec.scoring import Ragged


def findings(rows, part, times=None, n_items=20):
    flat = None if times is None else np.array([time for row in times for time in row], dtype=np.int64)
    log = Interactions(Ragged.from_rows(rows), n_items, flat)
    made = Split(log, np.array([code for row in part for code in row], dtype=np.uint8))
    return {finding.check: finding for finding in audit(made)}


def test_a_clean_split_has_no_warning():
    made = split(clusters(40, 40, 2, 8).interactions, LeaveLastOut())
    assert not [finding for finding in audit(made) if finding.severity == "warning"]


def test_items_known_before_test():
    found = findings([[1, 2, 1], [3, 4, 5]], [[0, 1, 2], [0, 1, 2]])
    assert (found["duplicates"].severity, found["duplicates"].value) == ("warning", 1)
    assert (found["repeats"].severity, found["repeats"].value) == ("note", 1)


def test_test_items_older_than_the_users_history():
    found = findings([[1, 2, 3], [1, 2, 3]], [[2, 1, 0], [0, 1, 2]], [[1, 2, 3], [1, 2, 3]])
    assert (found["order"].severity, found["order"].value) == ("warning", 0.5)


def test_training_on_other_users_future():
    """User 0 is asked about time 3 by a model that has seen user 1's time 4."""
    found = findings([[1, 2], [3, 4]], [[0, 2], [0, 2]], [[1, 3], [4, 9]])
    assert (found["global-time"].severity, found["global-time"].value) == ("note", 0.5)
    assert "25.0% of the training" in found["global-time"].sentence


def test_a_global_time_split_has_no_future():
    log = Interactions(Ragged.from_rows([list(range(10))] * 3), 10, np.tile(np.arange(10), 3))
    found = {finding.check: finding for finding in audit(split(log, GlobalTime()))}
    assert found["global-time"].severity == found["order"].severity == "ok"


def test_cold_users_and_items():
    found = findings([[1], [2, 3], [2, 1]], [[2], [0, 2], [0, 2]])
    assert found["cold-users"].value == 1
    assert found["cold-items"].value == pytest.approx(1.0)
    assert "2 items" in found["cold-items"].sentence


def test_an_empty_part():
    assert findings([[1, 2]], [[0, 0]])["parts"].severity == "warning"


@pytest.mark.parametrize("reverse", [False, True])
def test_a_split_by_item_id(reverse):
    """Published columns were void because test items were simply those of the highest ids."""
    rows = [sorted(generator(0, user).permutation(1000)[:10].tolist(), reverse=reverse) for user in range(30)]
    found = findings(rows, [[0] * 8 + [2] * 2] * 30, n_items=1000)["item-order"]
    assert found.severity == "warning"
    assert found.value == (-1.0 if reverse else 1.0)


def test_item_order_of_a_random_split_is_about_zero():
    rows = [generator(0, user).permutation(1000)[:10].tolist() for user in range(300)]
    found = findings(rows, [[0] * 8 + [2] * 2] * 300, n_items=1000)["item-order"]
    assert found.severity == "ok"
    assert abs(found.value) < 0.1


def test_interactions_of_no_part_are_left_out():
    found = findings([[1, 2, 3]], [[0, 3, 2]])
    assert found["parts"].value == 1
