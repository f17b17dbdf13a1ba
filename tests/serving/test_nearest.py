"""Approximate search finds what exact search finds, with the same scores, and leaves out what it is told to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from distilrec.export import BundleIds, write_bundle
from distilrec.models import HistoryEncoderConfig, build
from distilrec.runtime import Served
from distilrec.scoring import Queries, Ragged
from distilrec.serving import Settings
from distilrec.serving import service as serving
from distilrec.serving.engine import Engine
from distilrec.serving.requests import Query
from distilrec.serving.service import Service

N_ITEMS, LENGTH = 3_000, 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Items in 60 heaps, some of them much longer than others, with biases."""
    rng = np.random.default_rng(0)
    model = build(HistoryEncoderConfig(embedding_size=16, history_length=LENGTH), 1, N_ITEMS, seed=0).eval()
    heaps = rng.normal(size=(60, 16))
    vectors = heaps[rng.integers(60, size=N_ITEMS)] + 0.3 * rng.normal(size=(N_ITEMS, 16))
    state = model.state_dict()
    state["items"].copy_(state["items"].new_tensor(vectors * rng.lognormal(sigma=0.5, size=(N_ITEMS, 1))))
    state["bias"].copy_(state["bias"].new_tensor(rng.normal(size=N_ITEMS)))
    ids = BundleIds([f"i{n}" for n in range(N_ITEMS)], [""] * N_ITEMS, ["u0"], Ragged.from_rows([[1, 2]]))
    rows = [rng.choice(N_ITEMS, LENGTH, replace=False).tolist() for _ in range(300)]
    held_out = Queries(np.full(300, -1, np.int32), Ragged.from_rows(rows)), Ragged.from_rows([[0]] * 300)
    place = tmp_path_factory.mktemp("near") / "bundle"
    write_bundle(model, ids, held_out, place)
    return place


@pytest.fixture(scope="module")
def engines(folder: Path) -> tuple[Engine, Engine]:
    served = Served.load(folder)
    return Engine(served), Engine.near(served, 0.95)


def history(served: Served, row: int) -> list[str]:
    return [served.items.values[place] for place in served.held_out().queries.histories[row : row + 1].flat()[1]]


def test_finds_what_exact_search_finds(engines: tuple[Engine, Engine]) -> None:
    exact, near = engines
    assert near.nearest is not None
    assert 0 < near.nearest.looked_through < near.nearest.cells
    asks = [exact.ask(Query(history=history(exact.served, row)), ()) for row in range(200, 300)]
    shared = []
    for a, b in zip(exact.answer(asks), near.answer(asks), strict=True):
        scores = {item.item: item.score for item in a}
        both = [item for item in b if item.item in scores]
        shared.append(len(both) / 10)
        np.testing.assert_allclose([item.score for item in both], [scores[item.item] for item in both], rtol=1e-5)
        assert [item.score for item in b] == sorted((item.score for item in b), reverse=True)
    assert np.mean(shared) >= 0.93  # chosen on others for .95


def test_what_must_not_come_back_doesnt(engines: tuple[Engine, Engine]) -> None:
    exact, near = engines
    taken = history(near.served, 7)
    first = [item.item for item in near.answer([near.ask(Query(history=taken, k=5), ())])[0]]
    query = Query(history=taken, k=5, deny=first)
    [found] = near.answer([near.ask(query, ())])
    assert len(found) == 5
    assert not {item.item for item in found} & {*first, *taken}
    few = Query(history=taken, k=20, allow=[f"i{n}" for n in range(0, N_ITEMS, 150)], filter_seen=False)
    together = near.answer([near.ask(few, ()), near.ask(query, ()), near.ask(few, ())])
    together.append(exact.answer([exact.ask(few, ())])[0])
    first, second, third, alone = ([item.item for item in each] for each in together)
    assert first == third == alone
    assert second == [item.item for item in found]
    every = Query(history=taken, k=1_000)
    assert len(near.answer([near.ask(every, ())])[0]) == 1_000


def test_where_all_that_lies_near_was_denied_the_rest_is_looked_at(engines: tuple[Engine, Engine]) -> None:
    exact, near = engines
    taken = history(near.served, 3)
    asked = exact.ask(Query(history=taken, k=900), ())
    denied = [item.item for item in exact.answer([asked])[0]]
    query = Query(history=taken, k=10, deny=denied)
    [found], [expected] = (engine.answer([engine.ask(query, ())]) for engine in (near, exact))
    assert [item.item for item in found] == [item.item for item in expected]
    assert len(found) == 10


def test_added_items_are_always_looked_at(engines: tuple[Engine, Engine]) -> None:
    """Their places lie behind those that were sorted into cells."""
    _, near = engines
    student, nearest = near.served.student, near.nearest
    assert nearest is not None
    hidden = student.hidden(near.served.held_out().queries[:3])
    new = 100 * hidden[:1] / np.linalg.norm(hidden[0])
    assert student.bias is not None
    wider = replace(
        student, vectors=np.concatenate([student.vectors, new]), bias=np.append(student.bias, np.float32(0))
    )
    places, scores = nearest.search(wider, hidden, 10)
    assert (places[:, -1] == N_ITEMS).all()
    expected = np.einsum("bcd,bd->bc", wider.vectors[places], hidden) + wider.bias[places]
    np.testing.assert_allclose(scores, np.where(places < 0, -np.inf, expected), rtol=1e-4, atol=1e-5)
    assert places[0, scores[0].argmax()] == N_ITEMS


def test_a_server_of_many_items_uses_it(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def engine(recall: float) -> Engine:
        return Service.of(Settings(bundle=folder, state=f"sqlite:{tmp_path / 'state.db'}", recall=recall)).engine

    assert engine(0.95).nearest is None
    monkeypatch.setattr(serving, "LARGE", N_ITEMS)
    assert engine(0.95).nearest is not None
    assert engine(1.0).nearest is None
