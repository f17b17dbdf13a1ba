"""Language models: the vector must be of the last real token, never of padding, and the template must stay whole."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from pydantic import ValidationError

from distilrec.encoders.language_model import LanguageModelConfig, LanguageModelEncoder
from distilrec.errors import MissingExtraError, ModelError
from tests.encoders import tiny


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.gpt2(tmp_path_factory.mktemp("models") / "gpt2")


def encoder(model: str, **settings: Any) -> LanguageModelEncoder:
    """The model has 64 positions."""
    return LanguageModelEncoder(LanguageModelConfig(model=model, **{"max_length": 64, **settings}))


def ids(*words: int) -> list[int]:
    """The tiny tokenizer numbers w0 as 2."""
    return [word + 2 for word in words]


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_vectors_are_those_of_transformers(gpt2: str, pooling: str) -> None:
    plain = transformers.AutoModelForCausalLM.from_pretrained(gpt2)
    with torch.no_grad():
        hidden = plain(torch.tensor([ids(1, 2, 3)]), output_hidden_states=True).hidden_states[-1][0]
    expected = (hidden[-1] if pooling == "last" else hidden.mean(0)).numpy()
    found = encoder(gpt2, pooling=pooling, normalise=False).encode(["w1 w2 w3", "w4 " * 30])
    np.testing.assert_allclose(found[0], expected, atol=1e-5)


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_neighbours_in_a_batch_change_nothing(gpt2: str, pooling: str) -> None:
    """With padding on the left, or read as the last token, they would."""
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(tiny.WORDS, length)) for length in rng.integers(1, 40, 20)]
    some = encoder(gpt2, pooling=pooling, max_length=60)
    alone = np.concatenate([some.encode([text]) for text in texts])
    np.testing.assert_allclose(alone, some.encode(texts), atol=1e-5)


def test_of_a_long_text_the_end_goes_not_the_template(gpt2: str) -> None:
    """The last token of the template is what the vector is taken from."""
    some = encoder(gpt2, template="w1 {text} w2 w3", max_length=8)
    assert some.tokens(["w4 w5", "w4 w5 w6 w7 w8 w9 w10"], 8) == [ids(1, 4, 5, 2, 3), ids(1, 4, 5, 6, 7, 8, 2, 3)]
    assert some.tokens(["w4 w5 w6"], 3) == [ids(1, 2, 3)]
    assert some.tokens(["w4 w5 w6"], 2) == [ids(1, 2)]


def test_braces_in_a_text_are_text(gpt2: str) -> None:
    assert encoder(gpt2, template="{text}").tokens(["{text} {0}"], 8) == encoder(gpt2).tokens(["{text} {0}"], 8)


def test_a_text_without_tokens_has_a_vector(gpt2: str) -> None:
    assert np.isfinite(encoder(gpt2).encode([" "])).all()


def test_a_template_has_a_place_for_the_text() -> None:
    with pytest.raises(ValidationError, match="no place for the text"):
        LanguageModelConfig(model="x", template="A film")


def test_the_fingerprint_follows_model_and_template(tmp_path: Path, gpt2: str) -> None:
    other = tiny.gpt2(tmp_path / "other", seed=1)
    found = {encoder(gpt2).fingerprint, encoder(gpt2, template="w1 {text}").fingerprint, encoder(other).fingerprint}
    assert len(found) == 3


def test_gguf_needs_its_package(tmp_path: Path, gpt2: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gguf" else found(name))
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    some = encoder(str(tmp_path), gguf_file="x.gguf")
    assert [path.name for path in some.files()] == ["x.gguf"]
    with pytest.raises(MissingExtraError, match="pip install gguf"):
        some.encode(["w1"])


def test_more_tokens_than_positions_are_refused(gpt2: str) -> None:
    with pytest.raises(ModelError, match="reads at most 64 tokens, and max_length is 65; lower it"):
        encoder(gpt2, max_length=65).encode(["w1"])


def test_a_missing_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no tokenizer"):
        encoder(str(tmp_path)).encode(["w1"])
