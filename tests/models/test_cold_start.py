"""Room for cold items, and their places by ridge regression: worked out on a model whose scores are known."""

import numpy as np
import pytest
import torch

from distilrec.data import Features, clusters, split
from distilrec.data.split_kinds import ColdItems
from distilrec.errors import ModelError
from distilrec.models import (
    Catalogue,
    HistoryEncoderConfig,
    Supervision,
    build,
    fit,
    fit_room_,
    place_by_ridge_,
)
from distilrec.ranking import Restricted, evaluate
from distilrec.scoring import Ragged
from distilrec.training import TrainingConfig

DATA = split(clusters(n_users=200).interactions, ColdItems(share=0.3))
COLD = DATA.cold_items
ITEMS = Features(np.eye(4, dtype=np.float32)[np.arange(40) % 4], np.ones(40, np.bool_))


def trained(**settings):
    config = HistoryEncoderConfig(embedding_size=16, history_length=8, dropout=0.0, **settings)
    model = build(config, 200, 40, seed=0)
    fit(
        model,
        DATA,
        Supervision(),
        TrainingConfig(epochs=20, evaluate_every=10, batch_size=32, learning_rate=0.02),
        seed=0,
    )
    return model


def quality(model, these):
    """NDCG@10 on validation of what is sought among some items."""
    queries, targets = DATA.queries("validation")
    rows, items = targets.flat()
    kept = these[items]
    sought = Ragged.from_lengths(np.bincount(rows[kept], minlength=len(targets)), items[kept])
    asked = np.flatnonzero(sought.lengths > 0)
    return float(evaluate(model, queries[asked], sought[asked])["ndcg@10"].mean())


@pytest.mark.parametrize("cost", [0.0, 0.05, 0.3])
def test_cold_items_get_the_room_that_was_granted(cost):
    model = trained()
    place_by_ridge_(model, Catalogue({"text": ITEMS}, ~COLD), ["text"], DATA)
    alone = quality(Restricted(model, np.flatnonzero(~COLD)), ~COLD)
    offset = fit_room_(model, DATA, cost)
    kept = quality(model, ~COLD)
    assert kept >= (1 - cost) * alone - 1e-9
    with torch.no_grad():
        model.bias[torch.from_numpy(COLD)] += 0.5  # a little more would cost more than that
    assert quality(model, ~COLD) < (1 - cost) * alone or quality(model, ~COLD) == kept
    assert np.isfinite(offset)


def test_where_cold_items_lie_as_a_whole_is_found():
    """A vector that all of them have more changes no order among them, and every one in a list with the others."""
    found = {}
    for name in ("as they were", "moved", "moved, and a number alone"):
        model = trained()
        place_by_ridge_(model, Catalogue({"text": ITEMS}, ~COLD), ["text"], DATA)
        with torch.no_grad():
            if name != "as they were":
                model.items[COLD] += torch.from_numpy(np.random.default_rng(0).normal(0, 2, 16).astype("f4"))
            if name == "moved, and a number alone":
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr("distilrec.models.cold_start._shift", lambda *_: torch.zeros(16))
                    fit_room_(model, DATA, 0.1)
            else:
                fit_room_(model, DATA, 0.1)
        found[name] = quality(model, COLD)
    assert found["moved"] > 0.8 * found["as they were"]
    assert found["moved, and a number alone"] < 0.6 * found["as they were"]


def test_items_that_come_later_get_the_same_room():
    content = {"modalities": ("text", "image"), "new_only": True, "components": 4}
    config = HistoryEncoderConfig(embedding_size=16, history_length=8, dropout=0.0, content=content)
    known = Catalogue({"text": ITEMS, "image": ITEMS}, ~COLD)
    model = build(config, 200, 40, seed=0, catalogue=known)
    fit(model, DATA, Supervision(), TrainingConfig(epochs=2, batch_size=32, learning_rate=0.02), seed=0)
    before = model.items.clone()
    fit_room_(model, DATA, 0.05)
    twins = {"text": ITEMS.vectors[COLD], "image": np.full((int(COLD.sum()), 4), np.nan)}
    later = model.extended(twins, int(COLD.sum())).items[40:]
    both = model.extended({"text": twins["text"], "image": twins["text"]}, int(COLD.sum())).items[40:]
    torch.testing.assert_close(both, model.items[COLD], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(later, both, atol=1e-3)
    assert torch.equal(model.items[~COLD], before[~COLD])
    torch.testing.assert_close(model.eval().items[COLD], both, rtol=1e-4, atol=1e-4)


def test_a_ridge_regression_places_items_among_their_like():
    model = trained()
    before = model.items.detach().clone()
    strength = place_by_ridge_(model, Catalogue({"text": ITEMS}, ~COLD), ["text"], DATA)
    assert strength > 0
    assert torch.equal(model.items[~COLD], before[~COLD])
    cosine = torch.nn.functional.normalize(model.items.detach(), dim=1)
    cosine = cosine @ cosine.T
    same = torch.from_numpy((np.arange(40)[:, None] % 4) == (np.arange(40) % 4))
    placed = cosine[COLD][:, ~COLD]
    assert placed[same[COLD][:, ~COLD]].mean() > placed[~same[COLD][:, ~COLD]].mean() + 0.5
    assert quality(Restricted(model, np.flatnonzero(COLD)), COLD) > 0.6


def test_room_needs_biases():
    content = {"modalities": ("text",)}
    config = HistoryEncoderConfig(embedding_size=8, history_length=8, item_bias=False, content=content)
    model = build(config, 200, 40, seed=0, catalogue=Catalogue({"text": ITEMS}, ~COLD)).eval()
    with pytest.raises(ModelError, match="without item_bias"):
        fit_room_(model, DATA, 0.1)


@pytest.mark.parametrize("ids", [True, False])
def test_items_that_come_later_are_treated_as_those_that_were_measured(ids):
    """Else what was measured of cold items in one list isn't what is shipped."""
    catalogue = Catalogue({"text": ITEMS, "image": ITEMS}, ~COLD)
    content = {"modalities": ["text", "image"], "ids": ids, "components": 3}
    config = HistoryEncoderConfig(embedding_size=16, history_length=8, dropout=0.0, content=content)
    model = build(config, 200, 40, seed=0, catalogue=catalogue)
    training = TrainingConfig(epochs=4, batch_size=32, learning_rate=0.02)
    fit(model, DATA, Supervision(), training, seed=0)
    before = model.items[~torch.from_numpy(COLD)].clone()
    fit_room_(model, DATA, 0.05)
    with torch.no_grad():
        later = model.tower.encode(dict.fromkeys(("text", "image"), ITEMS.vectors[COLD]), int(COLD.sum()))
    torch.testing.assert_close(later, model.items[torch.from_numpy(COLD)], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(model.items[~torch.from_numpy(COLD)], before)
