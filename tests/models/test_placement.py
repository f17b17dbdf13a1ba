"""New items placed among those that training has seen: by a ridge regression, and then by labels."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from distilrec.data import Features, clusters, split
from distilrec.data.split_kinds import ColdItems
from distilrec.errors import ModelError
from distilrec.models import Catalogue, ContentConfig, HistoryEncoderConfig, Supervision, build, fit
from distilrec.models.fitting import train_model
from distilrec.models.placement import Placement
from distilrec.models.ridge import Ridge
from distilrec.rng import generator
from distilrec.training import TrainingConfig

N = 40


def features(width=6, known=None, n_items=N):
    """Vectors that say which cluster of `clusters` an item belongs to, and noise."""
    rng = generator(0, "features", width)
    vectors = np.eye(4)[np.arange(n_items) % 4] @ rng.normal(size=(4, width)) + 0.3 * rng.normal(size=(n_items, width))
    return Features(vectors.astype(np.float32), np.ones(n_items, np.bool_) if known is None else known)


def catalogue(trained, **modalities):
    return Catalogue(modalities or {"text": features(), "image": features(9)}, trained)


def test_ridge_regression_is_least_squares_with_rows_that_pull_to_zero():
    rng = generator(0, "ridge")
    x, y = rng.normal(size=(30, 5)), rng.normal(size=(30, 3))
    x -= x.mean(0)
    weights, mean = Ridge(torch.from_numpy(x).split(7), torch.from_numpy(y)).solve(2.5)
    more = np.vstack([x, np.sqrt(2.5) * np.eye(5)]), np.vstack([y - y.mean(0), np.zeros((5, 3))])
    np.testing.assert_allclose(weights, np.linalg.lstsq(*more, rcond=None)[0], atol=1e-6)
    np.testing.assert_allclose(mean, y.mean(0), atol=1e-6)


def test_new_items_begin_where_the_others_say_that_they_belong():
    """Rows that are linear in the content: those of items that nobody has seen are found from theirs."""
    trained = np.arange(2_000) % 5 > 0
    found = catalogue(trained, text=features(6, n_items=2_000), image=features(9, n_items=2_000))
    tower = Placement(ContentConfig(modalities=("text", "image"), new_only=True), 2_000, 3, 0.02, found)
    rng = generator(0, "maps")
    content = [each.vectors - each.vectors[trained].mean(0) for each in found.features.values()]
    rows = sum(x @ rng.normal(size=(x.shape[1], 3)) for x in content) + np.array([1.0, 2.0, 3.0])
    with torch.no_grad():
        tower.ids.copy_(torch.from_numpy(rows))
    tower.begin_()
    placed = tower.eval()().detach().numpy()
    np.testing.assert_array_equal(placed[trained], tower.ids.detach().numpy()[trained])
    assert np.square(placed - rows)[~trained].sum() < 5e-3 * np.square(rows - rows.mean(0))[~trained].sum()
    later = tower.encode({name: each.vectors[~trained] for name, each in found.features.items()}, 400)
    np.testing.assert_allclose(later.detach().numpy(), placed[~trained], atol=1e-4)


def test_what_is_known_adds_up_and_nothing_is_the_mean():
    trained = np.arange(N) > 2
    found = catalogue(trained)
    tower = Placement(ContentConfig(modalities=("text", "image"), new_only=True), N, 3, 0.02, found)
    with torch.no_grad():
        tower.ids.copy_(torch.from_numpy(generator(0, "rows").normal(size=(N, 3))))
    tower.begin_()
    text, image = (found.features[name].vectors[:3] for name in ("text", "image"))
    both, one, other, none = (
        tower.encode(given, 3) for given in ({"text": text, "image": image}, {"text": text}, {"image": image}, {})
    )
    torch.testing.assert_close(none, tower.ids[trained].mean(0).expand(3, -1))
    torch.testing.assert_close(both - none, (one - none) + (other - none))
    torch.testing.assert_close(tower.eval()(("image",))[:3], one)
    assert not torch.allclose(one, none, atol=1e-2)


def test_items_without_content_keep_their_rows_while_others_are_placed():
    known = np.arange(N) != 3
    found = catalogue(np.ones(N, np.bool_), text=features(known=known))
    tower = Placement(ContentConfig(modalities=("text",), new_only=True, modality_dropout=0.0), N, 3, 0.02, found)
    tower.begin_()
    vectors = tower.eval()(as_new=1.0)
    by_content = tower.encode({"text": found.features["text"].vectors}, N)
    torch.testing.assert_close(vectors[3], tower.ids[3])
    torch.testing.assert_close(vectors[known], by_content[known])


def test_what_all_new_items_get_and_what_biases_get():
    trained = np.arange(N) > 2
    tower = Placement(ContentConfig(modalities=("text", "image"), new_only=True), N, 3, 0.02, catalogue(trained)).eval()
    with torch.no_grad():
        tower.ids.copy_(torch.from_numpy(generator(0, "rows").normal(size=(N, 3))))
    tower.begin_()
    before = tower().detach()
    tower.add_to_new_(torch.tensor([1.0, 2.0, 3.0]))
    expected = before.clone()
    expected[~trained] += torch.tensor([1.0, 2.0, 3.0])
    torch.testing.assert_close(tower().detach(), expected)
    state = torch.tensor([0.5, -2.0])
    tower.add_to_biases_(state)
    expected[:, -1] += expected[:, :-1] @ state
    torch.testing.assert_close(tower().detach(), expected)


def test_placing_new_items_changes_nothing_else(monkeypatch):
    """Content for new items only: what is said of the others is what a model says that never looks at content."""
    data = split(clusters(n_users=200).interactions, ColdItems(share=0.3))
    trained = data.train.item_counts() > 0
    content = {"modalities": ("text", "image"), "new_only": True, "dropout": 0.3, "modality_dropout": 0.5}
    config = HistoryEncoderConfig(embedding_size=16, history_length=8, content=content)
    scores = []
    for steps in (1, 50):
        monkeypatch.setattr("distilrec.models.fitting.PLACING_STEPS", steps)
        model = build(config, data.log.n_users, N, seed=0, catalogue=catalogue(trained))
        fit(model, data, Supervision(), TrainingConfig(epochs=3, batch_size=32, learning_rate=0.02), seed=0)
        assert all(weight.requires_grad for weight in model.parameters())
        assert not model.training
        torch.testing.assert_close(model.items[trained], model.tower.ids[trained])
        scores.append(model.score(data.queries("test")[0]).detach())
    torch.testing.assert_close(scores[0][:, trained], scores[1][:, trained], rtol=0, atol=0)
    assert not torch.allclose(scores[0][:, ~trained], scores[1][:, ~trained], atol=0.1)


def test_a_loss_that_says_nothing_of_items_places_none():
    data = split(clusters().interactions, ColdItems(share=0.3))
    config = HistoryEncoderConfig(
        embedding_size=8, history_length=8, content={"modalities": ("text", "image"), "new_only": True}
    )
    model = build(config, data.log.n_users, N, seed=0, catalogue=catalogue(data.train.item_counts() > 0))
    with pytest.raises(ModelError, match=r"leave content\.new_only out"):
        train_model(
            model,
            model,
            data.train,
            batches=model.batches(data.train, Supervision(), 32).epoch,
            loss=lambda batch, rng: {"loss": model.encode(batch).square().mean()},
            validate=lambda: 0.0,
            config=TrainingConfig(epochs=1),
            seed=0,
        )


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_content_that_is_the_same_of_all_items_tells_nothing(value):
    """A variance of nothing, or of rounding, would make all places NaN or enormous."""
    trained, placed = np.arange(N) > 2, []
    same = Features(np.full((N, 5), value, np.float32), np.ones(N, np.bool_))
    for found in ({"text": features(), "same": same}, {"text": features()}):
        config = ContentConfig(modalities=tuple(found), new_only=True)
        tower = Placement(config, N, 3, 0.02, catalogue(trained, **found)).eval()
        with torch.no_grad():
            tower.ids.copy_(torch.from_numpy(generator(0, "rows").normal(size=(N, 3))))
        tower.begin_()
        tower.fold_()
        placed.append(tower())
    torch.testing.assert_close(*placed, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("components", [None, 3, 1])
def test_maps_and_components_folded_into_one_say_the_same(components):
    """All components of an image encoder's vectors would be a bundle's largest part."""
    trained = np.arange(N) > 2
    config = ContentConfig(modalities=("text", "image"), new_only=True, components=components)
    tower = Placement(config, N, 3, 0.02, catalogue(trained)).eval()
    with torch.no_grad():
        tower.ids.copy_(torch.from_numpy(generator(0, "rows").normal(size=(N, 3))))
    tower.begin_()
    given = {name: each.vectors[:5] for name, each in catalogue(trained).features.items()}
    before = tower(), tower(("text",)), tower.encode(given, 5)
    tower.fold_()
    for one, other in zip(before, (tower(), tower(("text",)), tower.encode(given, 5)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    sizes = {name: tuple(value.shape) for name, value in tower.named_parameters() if "parts" in name}
    folded = components != 1  # one of nine, and its map, are fewer numbers
    assert any("basis" in name for name in tower.state_dict()) is not folded
    assert ((3, 9) in sizes.values()) is folded
    again = Placement(tower.config, N, 3, 0.02, None)
    again.load_state_dict({name: value for name, value in tower.state_dict().items() if name != "ids"})
    torch.testing.assert_close(again.encode(given, 5), tower.encode(given, 5))


@pytest.mark.parametrize("wrong", [{"ids": False}, {"hidden": 8}])
def test_settings_that_dont_go_together(wrong):
    with pytest.raises(ValidationError, match="new_only"):
        ContentConfig(modalities=("text",), new_only=True, **wrong)
