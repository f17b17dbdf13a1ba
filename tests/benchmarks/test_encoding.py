"""Two libraries must encode the same texts in turn, and the peer's best setting must count."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from benchmarks import encoding
from distilrec.encoders import text
from distilrec.encoders.text import TextConfig, TextEncoder
from tests.encoders import tiny

TEXTS = [f"w{n} w{n + 1} w{n + 2}" for n in range(30)]
SECONDS = {32: 60.0, 16: 40.0, 8: 20.0, 4: 30.0}


class Fake:
    """A peer with the same model, whose time hangs on its batch size."""

    model = ""

    def __init__(self, name: str, script: str, arguments: Sequence[str], *, threads: int) -> None:
        self.texts = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))

    def __enter__(self) -> Fake:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        if do == "about":
            return {"model": self.model, "versions": {}}
        if do == "save":
            np.save(request["path"], TextEncoder(TextConfig(model=self.model, backend="torch")).encode(self.texts))
        return {"seconds": SECONDS.get(request.get("batch_size", 0))}


@pytest.fixture
def peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "cache_home", lambda: tmp_path / "cache")
    monkeypatch.setattr(Fake, "model", tiny.bert(tmp_path / "bert"))
    monkeypatch.setattr(encoding, "Peer", Fake)
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")


@pytest.mark.usefixtures("peer")
def test_their_quickest_batch_size_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "_timed", lambda encoder, _: lambda: 5.0 if encoder.config.precision == "int8" else 8)
    figures, detail = encoding.text(TEXTS, rounds=2)
    assert figures["speedup_vs_sentence_transformers"] == 20 / 8
    assert figures["cosine"] > 0.9999
    assert detail["speedup_at_their_default"] == 60 / 8
    assert detail["int8"]["offered"]
    assert detail["int8"]["speedup"] == 8 / 5
    assert detail["seconds"]["theirs_16"] == [40.0, 40.0]


@pytest.mark.usefixtures("peer")
def test_int8_that_is_refused_is_told_and_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "LEAST_OVERLAP", 1.01)
    _, detail = encoding.text(TEXTS, rounds=1)
    assert not detail["int8"]["offered"]
    assert "set precision to float32" in detail["int8"]["reason"]
    assert "int8" not in detail["seconds"]


def test_sides_take_turns_after_a_warm_up() -> None:
    order: list[str] = []

    def side(name: str) -> float:
        order.append(name)
        return float(len(order))

    found = encoding.in_turn({name: lambda name=name: side(name) for name in "ab"}, rounds=2)  # type: ignore[misc]
    assert order == ["a", "b"] * 3
    assert found == {"a": [3.0, 5.0], "b": [4.0, 6.0]}


def test_texts_vary_in_length_and_stay_the_same() -> None:
    items = pl.DataFrame({"title": [f"Film {n}" for n in range(100)], "genres": [["War", "Drama"]] * 100})
    texts = encoding.film_texts(items, 200)
    assert texts == encoding.film_texts(items, 200)
    films = [each.count("War, Drama") for each in texts]
    assert min(films) == 1
    assert max(films) == encoding.MOST_FILMS


def test_the_second_time_encodes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "cache_home", lambda: tmp_path / "cache")
    encoder = TextEncoder(TextConfig(model=tiny.bert(tmp_path / "bert"), backend="torch"))
    figures, detail = encoding.twice(TEXTS, encoder)
    assert detail["encoded"] == [len(TEXTS), 0]
    assert figures["second_time_share"] == detail["seconds"][1] / detail["seconds"][0]


def test_memory_is_told_by_size() -> None:
    _, detail = encoding.memory((2_000, 3_000), width=4)
    assert set(detail["mib_above_before"]) == {"2000", "3000"}
    assert min(detail["mib_above_before"].values()) >= 0


def test_all_parts_end_in_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def part(given: argparse.Namespace) -> encoding.Found:
        return {"cosine": 1.0}, {"texts": given.texts}

    monkeypatch.setattr(encoding, "PARTS", {"a": part, "b": lambda _: ({"memory": 2.0}, {})})
    encoding.main(["--texts", "3", "--out", str(tmp_path)])
    result = json.loads((tmp_path / "encoding.json").read_text(encoding="utf-8"))
    assert result["figures"] == {"cosine": 1.0, "memory": 2.0}
    assert result["detail"] == {"a": {"texts": 3}, "b": {}}
