"""Texts read without transformers are read as the encoder reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilrec.encoders import TextConfig, TextEncoder
from distilrec.errors import ArtefactError
from distilrec.runtime.text import TextReader
from tests.encoders import tiny

TEXTS = ["w1", "w2 w3 not-there w4", " ".join(f"w{n % 60}" for n in range(150)), "", "w5 w5"]


@pytest.mark.parametrize(
    "settings",
    [{}, {"normalise": False}, {"prefix": "w7 w8 "}, {"max_length": 12}, {"pooling": "cls"}, {"precision": "int8"}],
)
def test_vectors_are_the_encoders(settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a search that is understood otherwise than the texts of items were."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    encoder = TextEncoder(TextConfig(model=tiny.bert(tmp_path / "bert"), backend="onnx", **settings))
    (tmp_path / "left").mkdir()
    encoder.leave_reader(tmp_path / "left")
    reader = TextReader(tmp_path / "left")
    expected = encoder._encoded(TEXTS)  # without the comparison of int8, which random weights fail
    np.testing.assert_allclose(reader.encode(TEXTS), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(reader.encode(TEXTS[2:3]), expected[2:3], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["text.json", "tokenizer.json", "graph.onnx"])
def test_a_damaged_reader(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "left").mkdir()
    TextEncoder(TextConfig(model=tiny.bert(tmp_path / "bert"))).leave_reader(tmp_path / "left")
    (tmp_path / "left" / name).write_text("{}", encoding="utf-8")
    with pytest.raises(ArtefactError, match="left"):
        TextReader(tmp_path / "left")
