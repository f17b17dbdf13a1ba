"""Yesterday's models among today's users and items."""

import numpy as np
import pytest
import torch

from distilrec.errors import ModelError
from distilrec.models import (
    HistoryEncoderConfig,
    Known,
    LightGCNConfig,
    MatrixFactorizationConfig,
    Outgrown,
    SASRecConfig,
    build,
    warm_start_,
)
from distilrec.ranking import rank
from distilrec.scoring import Queries, Ragged

SEQUENCE = {"embedding_size": 4, "history_length": 3}
CONFIGS = [HistoryEncoderConfig(**SEQUENCE), SASRecConfig(**SEQUENCE), MatrixFactorizationConfig(embedding_size=4)]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model)
def test_a_warm_start_answers_as_before_and_new_rows_are_means(config):
    """Weights that land in other rows give every user another's taste."""
    before, today = build(config, 5, 20, seed=0).eval(), build(config, 7, 23, seed=1).eval()
    warm_start_(today, before)
    queries = Queries(np.array([0, 4], np.int32), Ragged.from_rows([[3, 19], [7]]))
    with torch.no_grad():
        torch.testing.assert_close(today.score(queries)[:, :20], before.score(queries))
        torch.testing.assert_close(today.items[20:], before.items.mean(0).expand(3, -1))
        new_user = Queries(np.array([6], np.int32), Ragged.from_rows([[]]))
        unknown = Queries(np.array([-1], np.int32), Ragged.from_rows([[]]))
        torch.testing.assert_close(today.score(new_user)[:, :20], before.score(unknown))


def test_a_warm_start_of_another_model_is_refused():
    today = build(CONFIGS[0], 5, 20, seed=0)
    with pytest.raises(ModelError, match="a SASRec can't go on as a HistoryEncoder"):
        warm_start_(today, build(CONFIGS[1], 5, 20, seed=0))
    wider = HistoryEncoderConfig(embedding_size=6, history_length=3)
    with pytest.raises(ModelError, match=r"shape \(20, 6\) in the earlier student and \(20, 4\)"):
        warm_start_(today, build(wider, 5, 20, seed=0))
    with pytest.raises(ModelError, match="shape"):
        warm_start_(today, build(CONFIGS[0], 5, 21, seed=0))
    graph = LightGCNConfig(embedding_size=4)
    with pytest.raises(ModelError, match="doesn't save all that it trains"):
        warm_start_(build(graph, 5, 20, seed=0), build(graph, 5, 20, seed=0))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model)
def test_an_outgrown_model_lists_what_it_knows_as_before_and_new_items_last(config):
    """New items in a history, or a new user, would otherwise be out of range."""
    inner = build(config, 5, 20, seed=0).eval()
    model = Outgrown(inner, n_users=7, n_items=23)
    old = Queries(np.array([2, -1], np.int32), Ragged.from_rows([[3, 1], [9]]))
    new = Queries(np.array([2, 6], np.int32), Ragged.from_rows([[3, 22, 1], [9, 20]]))
    lists, _ = rank(model, new, 22)
    expected, _ = rank(inner, old, 20)
    for row, (listed, known) in enumerate(zip(lists, expected, strict=True)):
        kept = known[known >= 0]
        assert listed[: len(kept)].tolist() == kept.tolist()
        assert set(listed[len(kept) :]) - {-1} == {20, 21, 22} - set(new.histories[row : row + 1].flat()[1])


def test_rows_that_share_an_array_go_on_sharing_it():
    """The check for held-out interactions compares positions, which need one array."""
    values = np.array([1, 9, 2, 3], np.int32)
    first, second = (Ragged(np.array([a]), np.array([b]), values) for a, b in ((0, 2), (1, 4)))
    known = Known(n_users=1, n_items=5)
    rows = [known.rows(first), known.rows(second)]
    assert rows[0].values is rows[1].values
    assert [row.flat()[1].tolist() for row in rows] == [[1], [2, 3]]
