"""What an empty history is answered with: the first items' shares where the model can tell them, other answers kept."""

import numpy as np
import pytest
import torch

from distilrec.data import Features, Interactions, LeaveLastOut, clusters, split
from distilrec.errors import ModelError
from distilrec.models import (
    Catalogue,
    ContentConfig,
    HistoryEncoderConfig,
    MatrixFactorizationConfig,
    SASRecConfig,
    Supervision,
    build,
    fit,
    fit_start_,
    load_model,
    save_model,
)
from distilrec.scoring import Queries, Ragged
from distilrec.training import TrainingConfig

ROWS = [[3, 1], [3, 2], [3, 0], [0, 1], []]
NOBODY = Queries(np.full(1, -1, np.int32), Ragged.from_rows([[]]))
SOMEBODY = Queries(np.full(3, -1, np.int32), Ragged.from_rows([[0], [2, 1], [3, 2, 0]]))
CONFIGS = [HistoryEncoderConfig, SASRecConfig]


@pytest.mark.parametrize("config", CONFIGS)
def test_an_empty_history_is_answered_by_the_shares_of_first_items(config, monkeypatch):
    monkeypatch.setattr("distilrec.models.start.PENALTY", 1e-9)
    model = build(config(embedding_size=4, history_length=4, heads=2), 5, 4, seed=0).eval()
    with torch.no_grad():
        model.items.copy_(torch.eye(4))  # any distribution over four items is within reach
        model.last_bias.copy_(torch.tensor([0.3, -0.2, 0.1, 0.5]))
    before = model.score(SOMEBODY)
    fit_start_(model, Interactions(Ragged.from_rows(ROWS), n_items=4))
    shares = model.score(NOBODY).detach().softmax(1)[0]
    assert shares[[3, 0]].tolist() == pytest.approx([3 / 4, 1 / 4], abs=1e-3)
    torch.testing.assert_close(model.score(SOMEBODY), before)


@pytest.mark.parametrize("hidden", [0, 5])
def test_a_model_that_knows_items_by_content_keeps_its_answers_and_those_about_new_items(hidden):
    content = ContentConfig(modalities=("text", "image"), components=4, hidden=hidden)
    config = HistoryEncoderConfig(embedding_size=8, history_length=4, content=content)
    every, rng = np.ones(40, np.bool_), np.random.default_rng(0)
    known = {name: Features(rng.normal(size=(40, 6)).astype("f4"), every) for name in content.modalities}
    model = build(config, 5, 40, seed=0, catalogue=Catalogue(known, every))
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.from_numpy(rng.normal(0, 0.3, weight.shape)))
    model.eval()
    new = {"text": rng.normal(size=(2, 6)).astype("f4")}
    before, nobody = model.extended(new, 2).score(SOMEBODY), model.extended(new, 2).score(NOBODY)
    fit_start_(model, Interactions(Ragged.from_rows(ROWS), n_items=40))
    torch.testing.assert_close(model.extended(new, 2).score(SOMEBODY), before, rtol=1e-4, atol=1e-4)
    after = model.extended(new, 2).score(NOBODY)
    likelier = (after.log_softmax(1) - nobody.log_softmax(1)).detach()[0]
    assert likelier[3] > 0.5  # which three of four histories begin with


def test_a_model_read_from_disk_can_be_moved_too(tmp_path):
    content = ContentConfig(modalities=("text",), components=4)
    every, rng = np.ones(6, np.bool_), np.random.default_rng(0)
    known = Catalogue({"text": Features(rng.normal(size=(6, 5)).astype("f4"), every)}, every)
    config = HistoryEncoderConfig(embedding_size=8, history_length=4, content=content)
    save_model(build(config, 5, 6, seed=0, catalogue=known).eval(), tmp_path)
    model = load_model(tmp_path)
    before = model.score(SOMEBODY).detach()
    model.move_origin_(torch.ones(8))
    torch.testing.assert_close(model.score(SOMEBODY).detach(), before, rtol=1e-4, atol=1e-4)
    with pytest.raises(ModelError, match="set item_bias to true"):
        build(HistoryEncoderConfig(embedding_size=4, item_bias=False), 5, 4, seed=0).move_origin_(torch.ones(4))


def test_training_ends_with_it():
    """Of two hundred histories, a hundred begin with item 7, and none holds it later."""
    told = clusters(n_users=200).interactions.histories
    rest = [row[row != 7].tolist() for row in np.split(told.values, told.stops[:-1])]
    rows = [[7] * (user % 2) + row for user, row in enumerate(rest)]
    data = split(Interactions(Ragged.from_rows(rows), n_items=40), LeaveLastOut())
    model = build(HistoryEncoderConfig(embedding_size=16, history_length=8), 200, 40, seed=0)
    fit(model, data, Supervision(), TrainingConfig(epochs=3, batch_size=32, learning_rate=0.02), seed=0)
    assert model.score(NOBODY).argmax() == 7


def test_models_without_biases_or_without_histories_stay_as_they_are():
    log = Interactions(Ragged.from_rows(ROWS), n_items=4)
    for config in (
        HistoryEncoderConfig(embedding_size=4, item_bias=False),
        MatrixFactorizationConfig(embedding_size=4),
    ):
        model = build(config, 5, 4, seed=0)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        fit_start_(model, log)
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
