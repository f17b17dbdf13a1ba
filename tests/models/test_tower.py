"""Item vectors from content: gates by hand, modality dropout, items that nobody has seen, and new ones."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from distilrec.data import Features, clusters, split
from distilrec.data.split_kinds import ColdItems
from distilrec.errors import ModelError
from distilrec.models import (
    Catalogue,
    ContentConfig,
    HistoryEncoderConfig,
    ItemTower,
    SASRecConfig,
    Supervision,
    build,
    fit,
    load_model,
    save_model,
)
from distilrec.models.tower import PrincipalComponents
from distilrec.ranking import Restricted, evaluate
from distilrec.rng import generator
from distilrec.scoring import Queries, Ragged
from distilrec.testing import SequenceContract
from distilrec.training import TrainingConfig

N = 40


def features(name="text", width=6, known=None, n_items=N, noise=0.3):
    """Vectors that say which cluster of `clusters` an item belongs to, and noise."""
    rng = generator(0, "features", name)
    vectors = np.eye(4)[np.arange(n_items) % 4] @ rng.normal(size=(4, width)) + noise * rng.normal(
        size=(n_items, width)
    )
    return Features(vectors.astype(np.float32), np.ones(n_items, np.bool_) if known is None else known)


def catalogue(trained=None, **modalities):
    found = modalities or {"text": features("text"), "image": features("image", 9)}
    return Catalogue(found, np.ones(N, np.bool_) if trained is None else trained)


class ContentContract(SequenceContract):
    """What models that read histories owe, where they know items by content."""

    def make(self, data, *, training=None):
        sizes = data.train.n_users, data.train.n_items
        n_items = data.train.n_items
        names = self.config.content.modalities
        known = catalogue(
            np.ones(n_items, np.bool_), **{name: features(name, n_items=n_items, noise=1.0) for name in names}
        )
        model = build(self.config, *sizes, seed=0, catalogue=known)
        fit(model, data, self.supervision, training or self.training, seed=0)
        return model


class TestFusion(ContentContract):
    config = SASRecConfig(
        embedding_size=32, layers=1, history_length=8, dropout=0.1, content={"modalities": ("text", "image")}
    )
    training = TrainingConfig(epochs=30, evaluate_every=10, batch_size=32, learning_rate=0.02)


class TestContentOfNewItemsOnly(ContentContract):
    config = HistoryEncoderConfig(
        embedding_size=32, history_length=8, dropout=0.1, content={"modalities": ("text", "image"), "new_only": True}
    )
    training = TrainingConfig(epochs=30, evaluate_every=10, batch_size=32, learning_rate=0.02)


class TestContentAlone(ContentContract):
    config = HistoryEncoderConfig(
        embedding_size=32, history_length=8, dropout=0.0, content={"modalities": ("text",), "ids": False, "hidden": 16}
    )
    training = TrainingConfig(epochs=30, evaluate_every=10, batch_size=32, learning_rate=0.02)


def test_gates_by_hand():
    other, known = np.array([True, False, True, False]), np.array([True, True, False, False])
    config = ContentConfig(modalities=("a", "b"), modality_dropout=0.0)
    a, b = (features(name, known=there, n_items=4) for name, there in (("a", other), ("b", known)))
    found = Catalogue({"a": a, "b": b}, np.array([True, True, True, False]))
    tower = ItemTower(config, 4, 2, 0.02, found)
    with torch.no_grad():
        tower.gate[:, -1] = torch.tensor([0.0, np.log(3.0), 0.0])
        vectors, gates = tower(), tower.gates()
        a, b = (part(x) for part, x in zip(tower.parts.values(), tower._inputs, strict=True))
    expected = [[0.2, 0.6, 0.2], [0.0, 0.75, 0.25], [0.5, 0.0, 0.5], [0.0, 0.0, 0.0]]
    torch.testing.assert_close(gates, torch.tensor(expected))
    torch.testing.assert_close(vectors[0], 0.2 * a[0] + 0.6 * b[0] + 0.2 * tower.ids[0])
    assert vectors[3].tolist() == [0.0, 0.0]  # nothing is known of it


def test_modality_dropout_withholds_and_leaves_something():
    config = ContentConfig(modalities=("text", "image"), modality_dropout=0.9)
    tower = ItemTower(config, N, 3, 0.02, catalogue())
    tower.train()
    with torch.no_grad():
        different = [tower() for _ in range(20)]
        assert not torch.equal(different[0], different[1])
        assert all(bool((vectors.abs().sum(1) > 0).all()) for vectors in different)
        tower.eval()
        assert torch.equal(tower(), tower())


def test_principal_components_are_those_of_the_chosen_items():
    given = features(width=6)
    chosen = np.arange(N) % 3 > 0
    part = PrincipalComponents(6, 4)
    part.fit(given, chosen)
    found = part(torch.from_numpy(given.vectors[chosen])).double().numpy()
    np.testing.assert_allclose(found.mean(0), 0.0, atol=1e-5)
    centred = given.vectors[chosen] - given.vectors[chosen].mean(0)
    _, spreads, directions = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.cov(found.T, bias=True), np.diag((spreads[:4] / spreads[0]) ** 2), atol=1e-4)
    along = np.abs(part.basis.numpy().T @ directions[:4].T)
    np.testing.assert_allclose(along / along[0, 0], np.eye(4), atol=1e-4)


@pytest.mark.parametrize("new_only", [False, True])
def test_an_item_that_training_never_saw_is_ranked_by_its_content(new_only):
    """Else an id model's fate of new items, to be a negative of every query, would meet a content model's, too."""
    data = split(clusters(n_users=200).interactions, ColdItems(share=0.3))
    trained = data.train.item_counts() > 0
    content = {"modalities": ("text",), "new_only": new_only}
    config = HistoryEncoderConfig(embedding_size=16, history_length=8, dropout=0.0, content=content)
    model = build(config, data.log.n_users, N, seed=0, catalogue=catalogue(trained, text=features()))
    training = TrainingConfig(epochs=30, evaluate_every=10, batch_size=32, learning_rate=0.02)
    fit(model, data, Supervision(), training, seed=0)
    queries, targets = data.queries("test")
    rows, items = targets.flat()
    asked = np.unique(rows[~trained[items]])
    cold = Restricted(model, np.flatnonzero(~trained))
    # Some three of the twelve cold items belong to the user's cluster.
    assert evaluate(cold, queries[asked], targets[asked], ["hit_rate@3"])["hit_rate@3"].mean() > 0.8
    assert evaluate(model, queries[asked], targets[asked], ["hit_rate@10"])["hit_rate@10"].mean() > 0.8


def test_a_model_with_more_items_serves_while_the_other_trains():
    model = build(
        HistoryEncoderConfig(embedding_size=8, content={"modalities": ("text",)}),
        5,
        N,
        seed=0,
        catalogue=catalogue(text=features()),
    ).eval()
    wider = model.extended({"text": np.ones((1, 6), np.float32)}, 1)
    model.train()
    assert wider.score(Queries(np.full(1, -1, np.int32), Ragged.from_rows([[N]]))).shape == (1, N + 1)


def test_content_for_new_items_only_needs_ids():
    with pytest.raises(ValidationError, match="set ids to true"):
        ContentConfig(modalities=("text",), ids=False, new_only=True)


def test_new_items_are_read_and_ranked_at_once(tmp_path):
    data = split(clusters().interactions, ColdItems(share=0.3))
    config = SASRecConfig(embedding_size=16, layers=1, history_length=8, content={"modalities": ("text", "image")})
    known = catalogue(data.train.item_counts() > 0)
    model = build(config, data.log.n_users, N, seed=0, catalogue=known)
    fit(model, data, Supervision(), TrainingConfig(epochs=2, batch_size=32), seed=0)
    twin = {name: each.vectors[[3]].astype(np.float64) for name, each in known.features.items()}
    nobody = np.full(2, -1, np.int32)
    save_model(model, tmp_path)
    for each in (model, load_model(tmp_path)):
        wider = each.extended(twin, 1)
        assert (wider.n_items, each.n_items) == (N + 1, N)
        with torch.no_grad():
            scores = wider.score(Queries(nobody, Ragged.from_rows([[0, N], [0, 3]])))
        assert scores.shape == (2, N + 1)
        content_only = each.extended({"text": twin["text"], "image": np.full((1, 9), np.nan)}, 1)
        assert not torch.equal(content_only.items[-1], wider.items[-1])
    torch.testing.assert_close(load_model(tmp_path).extended(twin, 1).items, model.extended(twin, 1).items)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sound": (1, 6)}, r"'sound' with shape \(1, None\)"),
        ({"text": (1, 5)}, r"'text' with shape \(1, 6\), given \(1, 5\)"),
        ({"text": (2, 6)}, r"given \(2, 6\)"),
    ],
)
def test_vectors_that_do_not_fit_are_told(given, message):
    """A name that isn't known would leave a new item without content, and nobody would know why."""
    model = build(
        SASRecConfig(embedding_size=8, content={"modalities": ("text",)}), 2, N, seed=0, catalogue=catalogue()
    )
    with pytest.raises(ModelError, match=message):
        model.extended({name: np.zeros(shape) for name, shape in given.items()}, 1)


def test_ids_alone_take_no_new_items():
    model = build(SASRecConfig(embedding_size=8), 2, 3, seed=0)
    with pytest.raises(ModelError, match="knows items by their ids alone"):
        model.extended({}, 1)


@pytest.mark.parametrize(
    ("known", "message"),
    [
        (None, "needs that content to be made; none was given"),
        (catalogue(image=features("image")), "reads 'text', and the content has image"),
        (catalogue(text=features(known=np.zeros(N, np.bool_))), "0 of the items seen in training have this content"),
    ],
)
def test_content_that_is_not_there(known, message):
    with pytest.raises(ModelError, match=message):
        build(SASRecConfig(content={"modalities": ("text",)}), 3, N, seed=0, catalogue=known)


def test_a_content_model_names_content():
    with pytest.raises(ValidationError, match="content names no modality"):
        ContentConfig()
    with pytest.raises(ValidationError, match="'ids' is no modality"):
        ContentConfig(modalities=("ids",))
