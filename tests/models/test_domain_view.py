"""A model of several domains, asked about one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from distilrec.data import Interactions
from distilrec.errors import ArtefactError
from distilrec.models import DomainView, Ensemble, ItemKNNConfig, build, load_model, save_model
from distilrec.rng import generator
from distilrec.scoring import Queries, Ragged

USERS, ITEMS = np.array([3, 1, 4], np.int32), np.array([0, 2, 3, 7], np.int32)
ELSEWHERE = Ragged.from_rows([[5, 6], [], [1]])


@pytest.fixture
def inner():
    rng = generator(0, "log")
    rows = [rng.choice(8, 4, replace=False).tolist() for _ in range(30)]
    model = build(ItemKNNConfig(neighbours=8), 30, 8, seed=0)
    model.fit(Interactions(Ragged.from_rows(rows), n_items=8))  # type: ignore[operator]
    return model


def queries(*histories: list[int], users: tuple[int, ...] = (0, 1, 2)) -> Queries:
    return Queries(np.array(users, np.int32), Ragged.from_rows(list(histories)))


def test_histories_begin_with_what_was_taken_elsewhere(inner):
    asked = DomainView(inner, USERS, ITEMS, ELSEWHERE).widened(queries([1, 3], [2], []))
    assert asked.users.tolist() == [3, 1, 4]
    assert [asked.histories[n : n + 1].flat()[1].tolist() for n in range(3)] == [[5, 6, 2, 7], [3], [1]]


def test_users_that_are_not_known_have_taken_nothing_elsewhere(inner):
    asked = DomainView(inner, USERS, ITEMS, ELSEWHERE).widened(queries([0], [1], users=(-1, 2)))
    assert asked.users.tolist() == [-1, 4]
    assert [asked.histories[n : n + 1].flat()[1].tolist() for n in range(2)] == [[0], [1, 2]]


def test_scores_are_those_of_the_domains_items(inner):
    view = DomainView(inner, USERS, ITEMS, ELSEWHERE)
    whole = inner.score(Queries(USERS, Ragged.from_rows([[5, 6, 2, 7], [3], [1]])))
    torch.testing.assert_close(view.score(queries([1, 3], [2], [])), whole[:, [0, 2, 3, 7]])
    assert view.known_elsewhere.tolist() == [True, False, True]
    assert view.flops(queries([1], users=(0,))) == inner.flops(Queries(USERS[:1], Ragged.from_rows([[5, 6, 2]])))


def test_it_is_saved_with_what_it_needs(inner, tmp_path):
    view = DomainView(Ensemble([inner, inner]), USERS, ITEMS, ELSEWHERE[np.array([0, 1, 2])])
    save_model(view, tmp_path)
    again = load_model(tmp_path)
    assert isinstance(again, DomainView)
    assert (again.n_users, again.n_items) == (3, 4)
    torch.testing.assert_close(again.score(queries([1, 3], [2], [])), view.score(queries([1, 3], [2], [])))


def test_a_damaged_one_is_named(inner, tmp_path):
    save_model(DomainView(inner, USERS, ITEMS, ELSEWHERE), tmp_path)
    settings = tmp_path / "model.json"
    settings.write_text(settings.read_text(encoding="utf-8").replace('"elsewhere": 3', '"elsewhere": 4'))
    with pytest.raises(ArtefactError, match="elsewhere: expected shape"):
        load_model(tmp_path)


def test_prefixes_of_one_history_stay_rows_of_one_array(inner):
    """A model that reads histories answers them in one pass; a view that copies each would make recording slow."""
    nothing = Ragged.from_rows([[], [], []])
    view = DomainView(inner, USERS, ITEMS, nothing)
    values = np.array([1, 3, 2], np.int32)
    prefixes = Ragged(np.zeros(3, np.int64), np.arange(1, 4), values)
    asked = [view.widened(Queries(np.full(3, n, np.int32), prefixes)) for n in (0, 1)]
    assert asked[0].histories.starts.tolist() == [0, 0, 0]
    assert asked[0].histories.values.tolist() == [2, 7, 3]
    assert asked[1].histories.values is asked[0].histories.values
