"""The server over HTTP: what is asked of it, what it refuses, and bundles that come and go."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jsonschema
import msgspec
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from starlette.testclient import TestClient

from distilrec.bundle import Bundle, ItemContent
from distilrec.data import Features, Modality
from distilrec.encoders import TextConfig, TextEncoder
from distilrec.errors import ArtefactError
from distilrec.export import BundleIds, write_bundle
from distilrec.models import Catalogue, ContentConfig, HistoryEncoderConfig, MatrixFactorizationConfig, Model, build
from distilrec.ranking import rank
from distilrec.runtime import Served
from distilrec.runtime.manifest import write_manifest
from distilrec.scoring import Queries, Ragged
from distilrec.serving import Settings, create_app
from distilrec.serving.requests import NewItem
from distilrec.serving.service import Service, passes
from distilrec.serving.sqlite import SQLiteState
from tests.encoders import tiny

N_USERS, N_ITEMS = 4, 60
TAKEN = [[0, 1], [2], [], [5, 6, 7]]
GENRES = [["even" if n % 2 == 0 else "odd", *(["third"] if n % 3 == 0 else [])] for n in range(N_ITEMS)]


EVERY = np.ones(N_ITEMS, np.bool_)
FEATURES = {"text": Features(np.random.default_rng(0).normal(size=(N_ITEMS, 5)).astype(np.float32), EVERY)}


def student(seed: int = 0, *, features: dict[str, Features] | None = None) -> Model:
    config = HistoryEncoderConfig(embedding_size=8, history_length=6, init_std=0.3)
    if features is None:
        return build(config, N_USERS, N_ITEMS, seed=seed).eval()
    config = config.model_copy(update={"content": ContentConfig(modalities=("text",))})
    return build(config, N_USERS, N_ITEMS, seed=seed, catalogue=Catalogue(features, EVERY)).eval()


def write(folder: Path, model: Model, encoder: TextEncoder | None = None) -> None:
    """A bundle of items i0 to i59; its held-out queries, and what the model answers. encoder: of texts."""
    ids = BundleIds(
        [f"i{n}" for n in range(N_ITEMS)],
        [f"Item {n}" for n in range(N_ITEMS)],
        [f"u{n}" for n in range(N_USERS)],
        Ragged.from_rows(TAKEN),
        {"genre": GENRES},
    )
    asked = Queries(np.array([0, 3], np.int32), Ragged.from_rows([TAKEN[0], TAKEN[3]]))
    held_out = asked, Ragged.from_rows([[9], [8]])
    content = None if encoder is None else {"text": ItemContent(Modality(kind="text", columns=("text",)), encoder)}
    write_bundle(model, ids, held_out, folder, content=content)


def serving(folder: Path, **settings: Any) -> TestClient:
    return TestClient(create_app(Settings(bundle=folder, **settings)), raise_server_exceptions=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "bundle", student())
    return tmp_path / "bundle"


@pytest.fixture
def client(folder: Path) -> Iterator[TestClient]:
    with serving(folder) as client:
        yield client


def items(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [item["item"] for item in answer.json()["items"]]


class TestRecommendations:
    def test_users_and_histories_are_answered_as_the_bundle_does(self, client: TestClient, folder: Path) -> None:
        bundle = Bundle.from_pretrained(folder)
        for user in ("u0", "u2", "u3"):
            expected = bundle.recommend(users=[user], k=7)
            found = client.post("/recommend", json={"user": user, "k": 7})
            assert items(found) == expected["item"].to_list()
            assert [item["title"] for item in found.json()["items"]] == expected["title"].to_list()
            np.testing.assert_allclose([item["score"] for item in found.json()["items"]], expected["score"], rtol=1e-5)
        expected = bundle.recommend(histories=[["i3", "not there", "i9"]], k=5)["item"].to_list()
        assert items(client.post("/recommend", json={"history": ["i3", "not there", "i9"], "k": 5})) == expected

    def test_a_batch_is_answered_as_one_by_one(self, client: TestClient) -> None:
        queries = [{"user": "u0"}, {"history": ["i9"], "k": 3}, {"session": "new", "k": 70}, {"user": "stranger"}]
        found = client.post("/recommend/batch", json={"queries": queries}).json()["answers"]
        for answer, query in zip(found, queries, strict=True):
            assert [item["item"] for item in answer["items"]] == items(client.post("/recommend", json=query))
        assert [len(answer["items"]) for answer in found] == [10, 3, 60, 10]

    def test_more_than_are_answered_at_once(self, client: TestClient) -> None:
        queries = [{"history": [f"i{n % 60}"], "k": 1, "where": {"genre": ["odd"]}} for n in range(150)]
        found = client.post("/recommend/batch", json={"queries": queries}).json()["answers"]
        alone = [items(client.post("/recommend", json=query)) for query in queries[:60]]
        assert [[item["item"] for item in answer["items"]] for answer in found] == [alone[n % 60] for n in range(150)]

    def test_filters(self, client: TestClient) -> None:
        def asked(**query: Any) -> list[str]:
            return items(client.post("/recommend", json={"user": "u0", "k": 60, **query}))

        everything = asked(filter_seen=False)
        assert len(everything) == 60
        assert asked() == [item for item in everything if item not in ("i0", "i1")]
        assert asked(deny=["i5", "i6"]) == [item for item in asked() if item not in ("i5", "i6")]
        assert asked(filter_seen=False, deny=["i0"]) == [item for item in everything if item != "i0"]
        assert asked(allow=["i4", "i1", "i7"]) == [item for item in everything if item in ("i4", "i7")]
        assert asked(where={"genre": ["odd"]}) == [item for item in asked() if int(item[1:]) % 2]
        assert asked(where={"genre": ["odd"]}, allow=["i3", "i4"]) == ["i3"]
        both = asked(where={"genre": ["odd", "third"]})
        assert both == [item for item in asked() if int(item[1:]) % 2 or int(item[1:]) % 3 == 0]
        assert asked(allow=[]) == []

    @pytest.mark.parametrize(
        ("query", "said"),
        [
            ({}, "give a user, a session, a history or a text"),
            (
                {"text": "slow"},
                "this student can't be searched in words; distil one whose model names a content of text",
            ),
            ({"user": "u0", "deny": ["x"]}, "no item is called 'x'"),
            ({"user": "u0", "where": {"year": ["1"]}}, "no attribute is called 'year'; there are genre"),
            ({"user": "u0", "where": {"genre": ["x"]}}, "no item has 'x' as its genre"),
            ({"user": "u0", "k": 0}, "Expected `int` >= 1 - at `$.k`"),
            ({"user": "u0", "more": 1}, "Object contains unknown field `more`"),
            ({"user": 1.5}, "Expected `int | str | null`, got `float` - at `$.user`"),
            ([], "Expected `object`, got `array`"),
        ],
    )
    def test_what_cannot_be_asked(self, client: TestClient, query: Any, said: str) -> None:
        answer = client.post("/recommend", json=query)
        assert (answer.status_code, answer.json()) == (400, {"error": said})

    def test_words_where_the_student_reads_none(self, client: TestClient) -> None:
        answer = client.post("/recommend", json={"text": "slow films about space"})
        assert answer.status_code == 400
        assert "can't be searched in words" in answer.json()["error"]

    def test_words(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As the bundle answers them: alone, after a history, and beside queries without."""
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        encoder = TextEncoder(TextConfig(model=tiny.bert(tmp_path / "bert")))
        texts = [f"w{n} w{(n * 7) % 60}" for n in range(N_ITEMS)]
        features = {"text": Features(encoder.encode(texts), np.ones(N_ITEMS, np.bool_))}
        write(tmp_path / "bundle", student(features=features), encoder=encoder)
        bundle = Bundle.from_pretrained(tmp_path / "bundle")
        words, after = (
            bundle.recommend(texts=["w3 w9"], k=4),
            bundle.recommend(histories=[["i4"]], texts=["w3 w9"], k=4),
        )
        with serving(tmp_path / "bundle") as client:
            queries = [{"text": "w3 w9", "k": 4}, {"user": "u0", "k": 4}, {"history": ["i4"], "text": "w3 w9", "k": 4}]
            found = client.post("/recommend/batch", json={"queries": queries}).json()["answers"]
            lists = [[item["item"] for item in answer["items"]] for answer in found]
            plain = items(client.post("/recommend", json={"user": "u0", "k": 4}))
        assert lists == [words["item"].to_list(), plain, after["item"].to_list()]

    @pytest.mark.parametrize(
        "body", [b"", b"{", b"\xff", b'{"session": "\xff"}', b'{"user": "\\ud800"}', b"[" * 100_000]
    )
    def test_what_cannot_be_read(self, client: TestClient, body: bytes) -> None:
        answer = client.post("/recommend", content=body)
        assert answer.status_code == 400
        assert answer.json()["error"]

    def test_a_student_that_looks_users_up(self, tmp_path: Path) -> None:
        write(tmp_path / "bundle", build(MatrixFactorizationConfig(embedding_size=8), N_USERS, N_ITEMS, seed=0).eval())
        with serving(tmp_path / "bundle") as client:
            before = items(client.post("/recommend", json={"user": "u0"}))
            client.post("/events", json={"user": "u0", "item": before[0]})
            assert (
                items(client.post("/recommend", json={"user": "u0", "k": 9})) == before[1:]
            )  # what is taken is left out
            answer = client.post("/recommend", json={"user": "stranger"})
            assert answer.status_code == 400
            assert "knows the users of its training log" in answer.json()["error"]


class TestClicks:
    def test_a_click_changes_the_next_answer(self, client: TestClient) -> None:
        expected = items(client.post("/recommend", json={"history": ["i0", "i1", "i9"]}))
        before = items(client.post("/recommend", json={"user": "u0"}))
        stored = client.post("/events", json={"user": "u0", "item": "i9", "k": 10}).json()
        assert (stored["known"], [item["item"] for item in stored["items"]]) == (True, expected)
        assert items(client.post("/recommend", json={"user": "u0"})) == expected != before

    def test_what_is_taken_again_is_what_was_taken_last(self, client: TestClient) -> None:
        before = client.post("/recommend", json={"user": "u3"}).json()
        client.post("/events", json={"user": "u3", "item": "i5"})
        after = client.post("/recommend", json={"user": "u3"}).json()
        assert after == client.post("/recommend", json={"history": ["i6", "i7", "i5"]}).json() != before

    def test_whoever_brings_a_history_is_answered_from_that_alone(self, client: TestClient) -> None:
        expected = items(client.post("/recommend", json={"history": ["i3"]}))
        client.post("/events", json={"user": "u0", "item": "i9"})
        assert items(client.post("/recommend", json={"user": "u0", "history": ["i3"]})) == expected

    def test_sessions_are_anyone(self, client: TestClient) -> None:
        for item in ("i3", "i4"):
            assert client.post("/events", json={"session": "s", "item": item}).json()["known"]
        expected = items(client.post("/recommend", json={"history": ["i3", "i4"]}))
        assert items(client.post("/recommend", json={"session": "s"})) == expected
        assert items(client.post("/recommend", json={"session": "other"})) != expected

    def test_a_click_that_cannot_be_answered_is_not_kept(self, tmp_path: Path) -> None:
        """Prevents a client that is told 400 and tries again from storing it twice."""
        write(tmp_path / "bundle", build(MatrixFactorizationConfig(embedding_size=8), N_USERS, N_ITEMS, seed=0).eval())
        with serving(tmp_path / "bundle") as client:
            assert client.post("/events", json={"session": "s", "item": "i1", "k": 5}).status_code == 400
            assert client.post("/events", json={"user": "u0", "session": "s", "item": "i1"}).status_code == 400
        assert asyncio.run(SQLiteState(tmp_path / "state.db").taken(["session:s", "user:u0"])) == [[], []]

    @pytest.mark.parametrize("user", ["a/b", "...", "", "b/..."])
    def test_users_of_any_name_are_forgotten(self, client: TestClient, user: str) -> None:
        before = items(client.post("/recommend", json={"user": user}))
        client.post("/events", json={"user": user, "item": "i9"})
        assert items(client.post("/recommend", json={"user": user})) != before
        answer = client.delete(f"/users/{quote(user, safe='')}")
        assert answer.status_code == 204
        assert "content-length" not in answer.headers
        assert items(client.post("/recommend", json={"user": user})) == before

    def test_clicks_outlive_the_server(self, folder: Path) -> None:
        with serving(folder) as client:
            client.post("/events", json={"session": "s", "item": "i3"})
            expected = items(client.post("/recommend", json={"session": "s"}))
        with serving(folder) as client:
            assert items(client.post("/recommend", json={"session": "s"})) == expected

    def test_what_a_user_clicked_is_deleted(self, client: TestClient) -> None:
        before = items(client.post("/recommend", json={"user": "u0"}))
        client.post("/events", json={"user": "u0", "item": "i9"})
        assert client.delete("/users/u0").status_code == 204
        assert items(client.post("/recommend", json={"user": "u0"})) == before
        assert client.delete("/sessions/none").status_code == 204

    def test_an_item_that_is_not_known_yet_is_kept(self, client: TestClient) -> None:
        assert client.post("/events", json={"session": "s", "item": "tomorrow's"}).json()["known"] is False
        assert len(items(client.post("/recommend", json={"session": "s"}))) == 10

    def test_without_state_answers_go_on_and_clicks_are_refused(self, folder: Path) -> None:
        """Prevents a Redis that is down from taking recommendations with it, and clicks from being lost unsaid."""
        with serving(folder, state=f"unix://{folder.parent / 'nowhere.sock'}") as client:
            answer = client.post("/recommend", json={"user": "u0"})
            assert (answer.status_code, answer.json()["degraded"], len(items(answer))) == (200, True, 10)
            answer = client.post("/events", json={"user": "u0", "item": "i9"})
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert client.get("/ready").status_code == 503
            assert client.get("/health").status_code == 200
            assert "distilrec_degraded_total 1.0" in client.get("/metrics").text


class TestItems:
    def test_a_new_item_is_recommended_at_once_and_after_a_restart(self, tmp_path: Path) -> None:
        write(tmp_path / "bundle", student(features=FEATURES))
        new = {"item": "new", "title": "New", "vectors": {"text": [3.0, 0, 0, 0, 0]}}
        with serving(tmp_path / "bundle") as client:
            assert client.post("/items", json={"items": [new]}).json() == {"items": 61}
            assert items(client.post("/recommend", json={"user": "u0", "allow": ["new"]})) == ["new"]
            after = items(client.post("/recommend", json={"history": ["new"]}))
            assert client.post("/items", json={"items": [new]}).json()["error"].startswith("'new' is no new id")
        with serving(tmp_path / "bundle") as client:
            assert items(client.post("/recommend", json={"history": ["new"]})) == after

    def test_a_new_item_is_found_by_its_attributes(self, tmp_path: Path) -> None:
        """Else what a shop added today would be missing behind every filter."""
        write(tmp_path / "bundle", student(features=FEATURES))
        new = {"item": "new", "vectors": {"text": [3.0, 0, 0, 0, 0]}, "attributes": {"genre": ["odd", "today's"]}}
        with serving(tmp_path / "bundle") as client:
            assert client.post("/items", json={"items": [new]}).status_code == 200
            asked = {"user": "u0", "where": {"genre": ["today's"]}}
            assert items(client.post("/recommend", json=asked)) == ["new"]
            strange = {**new, "item": "newer", "attributes": {"colour": ["red"]}}
            said = client.post("/items", json={"items": [strange]}).json()["error"]
            assert said == "no attribute is called 'colour'; there are genre"
        with serving(tmp_path / "bundle") as client:
            assert items(client.post("/recommend", json=asked)) == ["new"]

    @pytest.mark.parametrize(
        ("vectors", "said"),
        [
            ({}, "nothing is known of it; give a vector of what the student reads: text (5)"),
            ({"text": [1.0]}, "'text' with 1 numbers; the student reads text (5)"),
            ({"image": [1.0]}, "'image' with 1 numbers; the student reads text (5)"),
        ],
    )
    def test_items_of_which_nothing_is_known(self, tmp_path: Path, vectors: dict[str, Any], said: str) -> None:
        write(tmp_path / "bundle", student(features=FEATURES))
        with serving(tmp_path / "bundle") as client:
            answer = client.post("/items", json={"items": [{"item": "new", "vectors": vectors}]})
            assert (answer.status_code, answer.json()["error"]) == (400, f"'new': {said}")
            assert client.get("/ready").json()["items"] == 60

    def test_vectors_that_cannot_be_placed_are_refused(self, tmp_path: Path) -> None:
        """Prevents items of infinite score from pushing everything else out of every answer, for good."""
        write(tmp_path / "bundle", student(features=FEATURES))
        with serving(tmp_path / "bundle") as client:
            new = [{"item": f"n{n}", "vectors": {"text": [3e38 * (-1) ** n] * 5}} for n in range(2)]
            answer = client.post("/items", json={"items": new})
            assert (answer.status_code, "too large to be placed" in answer.json()["error"]) == (400, True)
            twice = {"item": "n", "vectors": {"text": [1.0] * 5}}
            assert "comes twice" in client.post("/items", json={"items": [twice, twice]}).json()["error"]
            assert len(items(client.post("/recommend", json={"user": "u0"}))) == 10

    def test_items_that_do_not_fit_the_next_bundle_are_left_out(self, tmp_path: Path) -> None:
        """Prevents an encoder that changed from keeping the server down, or from keeping new bundles out."""
        folder = tmp_path / "bundle"
        write(folder, student(features=FEATURES))
        with serving(folder) as client:
            client.post("/items", json={"items": [{"item": "new", "vectors": {"text": [1.0] * 5}}]})
        wider = {"text": Features(np.ones((N_ITEMS, 7), np.float32), EVERY)}
        write(folder, student(features=wider))
        with serving(folder, watch=0.05) as client:
            assert client.get("/ready").json()["items"] == 60
            write(folder, student(seed=1, features=FEATURES))
            until = time.monotonic() + 20
            while client.get("/ready").json()["items"] != 61:  # that one can place it again
                assert time.monotonic() < until
                time.sleep(0.02)

    def test_additions_at_once_all_count(self, tmp_path: Path) -> None:
        write(tmp_path / "bundle", student(features=FEATURES))
        service = Service.of(Settings(bundle=tmp_path / "bundle"))

        class Slow(SQLiteState):
            async def add_items(self, items: Any) -> None:
                await asyncio.sleep(0.02)
                await super().add_items(items)

        service.state = Slow(tmp_path / "slow.db")

        async def added() -> list[int]:
            new = [NewItem(f"n{n}", {"text": [float(n)] * 5}) for n in range(3)]
            return await asyncio.gather(*(service.add_items([item]) for item in new), service.refresh())

        assert asyncio.run(added())[:3] == [61, 62, 63]

    def test_items_of_a_state_are_placed_at_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each by itself copies all vectors; and no request finds a new bundle without them."""
        write(tmp_path / "bundle", student(features=FEATURES))
        service = Service.of(Settings(bundle=tmp_path / "bundle"))
        sizes, extended = [], Served.extended

        def counted(served: Served, *given: Any) -> Served:
            sizes.append(len(given[1]))
            return extended(served, *given)

        def told(begin: int, *first: float) -> None:
            new = [NewItem(f"n{begin + n}", {"text": [value] * 5}) for n, value in enumerate(first)]
            asyncio.run(service.state.add_items([(item.item, msgspec.json.encode(item)) for item in new]))
            asyncio.run(service.refresh())

        monkeypatch.setattr(Served, "extended", counted)
        told(0, 1.0, 2.0, 3.0)
        assert sizes == [3]
        # One that is too large to be placed doesn't keep the others out, and isn't tried each time.
        told(3, 4.0, 3e38, 5.0)
        assert [service.engine.served.items.place(f"n{n}") for n in range(6)] == [60, 61, 62, 63, -1, 64]
        tries = len(sizes)
        asyncio.run(service.refresh())
        assert len(sizes) == tries

    def test_a_bundle_that_was_saved_with_new_items_passes_its_gate(self, tmp_path: Path) -> None:
        write(tmp_path / "bundle", student(features=FEATURES))
        bundle = Served.load(tmp_path / "bundle")
        rng = np.random.default_rng(1)
        for day in range(2):  # into the same folder, twice
            new = {"text": rng.normal(size=(40, 5)).astype(np.float32)}
            bundle = bundle.extended(new, [f"day {day} {n}" for n in range(40)], ["New"] * 40, {})
            bundle.save(tmp_path / "bundle")
            again = Served.load(tmp_path / "bundle")
            assert (len(again.items), passes(again, 0.99)) == (100 + 40 * day, 1.0)
            np.testing.assert_array_equal(again.student.vectors, bundle.student.vectors)
        write(tmp_path / "bundle", student(seed=1, features=FEATURES))
        with pytest.raises(ArtefactError, match="another bundle lies in"):
            bundle.save(tmp_path / "elsewhere")

    def test_a_student_of_ids_takes_none(self, client: TestClient) -> None:
        answer = client.post("/items", json={"items": [{"item": "new", "vectors": {"text": [1.0]}}]})
        assert answer.status_code == 400
        assert "knows items by their ids" in answer.json()["error"]


class TestBundles:
    def wait(self, client: TestClient, key: str, expected: Any) -> None:
        until = time.monotonic() + 20
        while client.get("/ready").json()[key] != expected:
            assert time.monotonic() < until, client.get("/ready").json()
            time.sleep(0.02)

    def test_a_new_bundle_is_taken_up_with_all_clicks(self, folder: Path) -> None:
        with serving(folder, watch=0.05) as client:
            client.post("/events", json={"user": "u0", "item": "i9"})
            other = student(seed=1)
            write(folder, other)
            expected, _ = rank(other, Queries(np.array([0], np.int32), Ragged.from_rows([[0, 1, 9]])), 10)
            until = time.monotonic() + 20
            while items(client.post("/recommend", json={"user": "u0"})) != [f"i{n}" for n in expected[0]]:
                assert time.monotonic() < until
            assert "distilrec_bundles_total 1.0" in client.get("/metrics").text

    def test_one_that_fails_its_gate_is_not(self, folder: Path) -> None:
        """Whose answers aren't those of the student that was measured: here its vectors were mixed up."""
        with serving(folder, watch=0.05) as client:
            before = items(client.post("/recommend", json={"user": "u0"}))
            other = folder.parent / "other"
            write(other, student(seed=1))
            weights = load_file(other / "model.safetensors")
            save_file({**weights, "items": weights["items"][::-1].copy()}, other / "model.safetensors")
            write_manifest(Served.load(folder).manifest, other)
            folder.rename(folder.parent / "old")
            other.rename(folder)
            until = time.monotonic() + 20
            while client.get("/ready").json()["refused_bundle"] is None:
                assert time.monotonic() < until
                time.sleep(0.02)
            assert (
                "answers otherwise than the student that was measured" in client.get("/ready").json()["refused_bundle"]
            )
            assert items(client.post("/recommend", json={"user": "u0"})) == before
            write(folder, student())
            self.wait(client, "refused_bundle", None)

    def test_one_that_is_still_being_copied_is_tried_again(self, folder: Path) -> None:
        other, service = folder.parent / "other", Service.of(Settings(bundle=folder))
        write(other, student(seed=1))
        for name in ("bundle.json", *sorted(path.name for path in other.iterdir() if path.name != "bundle.json")):
            shutil.copyfile(other / name, folder / name)
            last = asyncio.run(service.refresh())
            assert (service.refused is None) == last
        assert last
        (folder / "query.onnx").write_bytes(b"")
        assert not asyncio.run(service.refresh())
        stamp = service._seen
        assert not asyncio.run(service.refresh(again=True))  # it is looked at, and is still damaged
        assert (service._seen, service.refused is None) == (stamp, False)

    def test_state_lies_beside_the_bundle_and_is_its_own(self, tmp_path: Path) -> None:
        """Prevents clicks from getting lost when a link leads elsewhere, and from crossing over to another bundle."""
        (tmp_path / "a").mkdir()
        (tmp_path / "now").symlink_to(tmp_path / "a")
        places = {Settings(bundle=tmp_path / name).state_place() for name in ("now/films", "now/books")}
        assert places == {f"sqlite:{tmp_path}/now/{name}.state.db" for name in ("films", "books")}

    def test_a_server_does_not_start_with_a_damaged_one(self, folder: Path) -> None:
        (folder / "query.onnx").write_bytes(b"")
        with pytest.raises(ArtefactError, match=r"query\.onnx has 0 bytes where the bundle says"):
            serving(folder)


class TestGuard:
    def test_keys(self, folder: Path) -> None:
        with serving(folder, keys=("one", "two")) as client:
            assert client.post("/recommend", json={"user": "u0"}).status_code == 401
            assert client.post("/recommend", json={"user": "u0"}, headers={"x-api-key": "three"}).status_code == 401
            assert client.post("/recommend", json={"user": "u0"}, headers={"x-api-key": "two"}).status_code == 200
            headers = {"authorization": "Bearer one"}
            assert client.post("/recommend", json={"user": "u0"}, headers=headers).status_code == 200
            assert client.get("/health").status_code == 200
            assert client.get("/docs").status_code == 200
            assert client.delete("/users/u0").status_code == client.get("/metrics").status_code == 401

    def test_a_path_that_is_none_takes_no_route(self, folder: Path) -> None:
        """Some servers pass on what a client wrote in the place of a path; it must not get by without a key."""
        with serving(folder, keys=("one",)) as client:
            scope = {"type": "http", "path": "xusers/u0", "method": "DELETE", "headers": []}
            told: list[dict[str, Any]] = []

            async def receive() -> dict[str, Any]:
                return {"type": "http.request", "body": b""}

            async def send(message: dict[str, Any]) -> None:
                told.append(message)

            asyncio.run(client.app(scope, receive, send))  # type: ignore[arg-type]
            assert told[0]["status"] == 404

    def test_pages_of_others_may_ask_with_a_key(self, folder: Path) -> None:
        """Browsers ask beforehand, without it."""
        headers = {"origin": "https://shop.example", "access-control-request-method": "POST"}
        with serving(folder, keys=("one",), cors=("https://shop.example",)) as client:
            assert client.options("/recommend", headers=headers).status_code == 200
            answer = client.post("/recommend", json={"user": "u0"}, headers={"origin": "https://shop.example"})
            assert answer.status_code == 401
            assert answer.headers["access-control-allow-origin"] == "https://shop.example"

    def test_large_bodies(self, folder: Path) -> None:
        def parts() -> Iterator[bytes]:
            yield b'{"history": ['
            yield b'"i1", ' * 1000
            yield b'"i1"]}'

        with serving(folder, body_limit=2_000) as client:
            assert client.post("/recommend", json={"history": ["i1"] * 1000}).status_code == 413
            assert client.post("/recommend", content=parts()).status_code == 413  # of no length that is told
            assert client.post("/recommend", json={"history": ["i1"]}).status_code == 200

    def test_rates(self, folder: Path) -> None:
        with serving(folder, rate=3.0) as client:
            told = [client.post("/recommend", json={"user": "u0"}) for _ in range(12)]
            refused = [answer for answer in told if answer.status_code == 429]
            assert len(refused) >= 6
            others = [client.post("/recommend", json={"user": "u0"}, headers={"x-api-key": str(n)}) for n in range(9)]
            assert 429 in {answer.status_code for answer in others}  # a name that nobody gave is no one else
            assert refused[0].headers["retry-after"] == "1"

    def test_an_empty_key_is_refused(self, folder: Path) -> None:
        """Prevents a variable that isn't set from letting everyone in."""
        for keys in (("",), ("one", "  ")):
            with pytest.raises(ValueError, match="an API key is empty"):
                Settings(bundle=folder, keys=keys)
        assert Settings(bundle=folder, keys=(" two",)).keys == ("two",)

    def test_other_pages_may_not_change_what_is_kept(self, folder: Path) -> None:
        """Browsers send it, whatever the answer's headers say."""
        click = {"content": json.dumps({"user": "u0", "item": "i9"})}
        asked = {"/events": click, "/items": {"content": "{}"}}
        for cors, statuses in (((), [403, 403, 403]), (("https://shop.example",), [200, 400, 204])):
            with serving(folder, cors=cors) as client:
                headers = {"origin": "https://shop.example", "content-type": "text/plain"}
                found = [client.post(path, headers=headers, **told).status_code for path, told in asked.items()]  # type: ignore[arg-type]
                assert [*found, client.delete("/users/u0", headers=headers).status_code] == statuses
                own = {"origin": "http://testserver"}
                assert client.post("/events", headers=own, **click).status_code == 200  # type: ignore[arg-type]
        with serving(folder, keys=("one",)) as client:  # who has a key is no other page
            told = {"origin": "https://shop.example", "x-api-key": "one"}
            assert client.post("/events", headers=told, **click).status_code == 200  # type: ignore[arg-type]

    def test_other_pages_may_not_ask_unless_told(self, folder: Path) -> None:
        for cors, allowed in (((), None), (("https://shop.example",), "https://shop.example")):
            with serving(folder, cors=cors) as client:
                answer = client.post("/recommend", json={"user": "u0"}, headers={"origin": "https://shop.example"})
                assert answer.headers.get("access-control-allow-origin") == allowed

    def test_logs_say_nothing_of_users(self, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        with serving(folder, keys=("very-secret",)) as client:
            client.post("/events", json={"user": "u0-by-name", "item": "i9"}, headers={"x-api-key": "very-secret"})
            client.delete("/users/u0-by-name", headers={"x-api-key": "very-secret"})
        lines = [json.loads(record.message) for record in caplog.records if record.name == "distilrec.access"]
        assert [(line["path"], line["status"]) for line in lines] == [("/events", 200), ("/users/...", 204)]
        own = " ".join(record.getMessage() for record in caplog.records if record.name.startswith("distilrec"))
        assert "by-name" not in own
        assert "very-secret" not in own

    def test_a_slow_client_is_let_go(self, folder: Path) -> None:
        app = create_app(Settings(bundle=folder, timeout=0.05))

        async def asked() -> int:
            sent: list[dict[str, Any]] = []

            async def receive() -> dict[str, Any]:
                await asyncio.sleep(1)
                return {"type": "http.request", "body": b"{}", "more_body": False}

            async def send(message: Any) -> None:
                sent.append(message)

            scope = {"type": "http", "method": "POST", "path": "/recommend", "headers": [], "query_string": b""}
            await app({**scope, "root_path": "", "http_version": "1.1", "scheme": "http"}, receive, send)
            return int(sent[0]["status"])

        assert asyncio.run(asked()) == 408

    def test_paths_and_methods_that_there_are_not(self, client: TestClient) -> None:
        assert client.get("/recommend").status_code == 405
        assert client.get("/nowhere/" + "x" * 500).status_code == 404
        assert 'path="other",status="404"' in client.get("/metrics").text


def test_a_page_is_handed_out_beside_the_interface(folder: Path) -> None:
    site = folder.parent / "site"
    site.mkdir()
    with pytest.raises(ValueError, match=r"site holds no page; write one with: distilrec export BUNDLE --to web"):
        Settings(bundle=folder, web=site)
    (site / "index.html").write_text("<h1>Here</h1>", encoding="utf-8")
    (folder.parent / "secret").write_text("secret", encoding="utf-8")
    with serving(folder, web=site) as client:
        assert "<h1>Here</h1>" in client.get("/").text
        assert client.get("/%2e%2e/secret").status_code == 404
        assert len(items(client.post("/recommend", json={"user": "u0"}))) == 10


def test_a_page_is_packed_for_who_can_unpack_it(folder: Path) -> None:
    site = folder.parent / "site"
    site.mkdir()
    text = "<p>page</p>" * 100
    for name in ("index.html", "app.js"):
        (site / name).write_text(text, encoding="utf-8")
        (site / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
    (site / "student.onnx").write_bytes(b"student")
    with serving(folder, web=site) as client:
        for path, kind in (("/", "text/html"), ("/app.js", "text/javascript")):
            packed, plain = (client.get(path, headers={"accept-encoding": each}) for each in ("br, gzip", "identity"))
            assert packed.text == plain.text == text
            assert packed.headers["content-type"].partition(";")[0] == plain.headers["content-type"].partition(";")[0]
            assert plain.headers["content-type"].startswith(kind)
            assert (packed.headers["content-encoding"], plain.headers.get("content-encoding")) == ("gzip", None)
            assert int(packed.headers["content-length"]) < int(plain.headers["content-length"])
        assert client.get("/student.onnx").content == b"student"
        assert client.get("/nothing.js").status_code == 404


def test_the_description_is_of_what_is_there(client: TestClient) -> None:
    """Prevents a page of documentation that the server doesn't keep to."""
    spec = client.get("/openapi.json").json()
    assert spec["openapi"] == "3.1.0"
    resolver = {"components": spec["components"], "$ref": "#/components/schemas/Answer"}
    jsonschema.validate(client.post("/recommend", json={"user": "u0"}).json(), resolver)
    for path, methods in spec["paths"].items():
        for method in methods:
            answer = client.request(method, path.replace("{user}", "u0").replace("{session}", "s"), content=b"{}")
            assert str(answer.status_code) in methods[method]["responses"], (path, method)
    page = client.get("/docs").text
    assert "openapi.json" in page
    assert "://" not in page  # it loads nothing from elsewhere
