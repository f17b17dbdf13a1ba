"""Text encoders: a text's vector must be the model's own, whatever runs it and whatever stands beside it."""

from __future__ import annotations

import importlib.util
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from pydantic import ValidationError

from distilrec.encoders import onnx_export, text, transformer
from distilrec.encoders.text import Agreement, TextConfig, TextEncoder, agreement
from distilrec.errors import MissingExtraError, ModelError
from tests.encoders import tiny


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(text, "cache_home", lambda: tmp_path / "cache")
    return tmp_path / "cache" / "graphs"


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.bert(tmp_path_factory.mktemp("models") / "bert")


def encoder(model: str, **settings: Any) -> TextEncoder:
    return TextEncoder(TextConfig(model=model, **settings))


def texts(n: int = 30, most: int = 100, seed: int = 0) -> list[str]:
    """Of 1 to `most` words; the model reads 46 of them at once."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(tiny.WORDS, length)) for length in rng.integers(1, most + 1, n)]


def by_hand(model: str, sentence: str, pooling: str = "mean") -> NDArray[np.float32]:
    """The vector of one short text, by transformers alone."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    plain = transformers.AutoModel.from_pretrained(model)
    with torch.no_grad():
        hidden = plain(**tokenizer(sentence, return_tensors="pt")).last_hidden_state[0]
    vector = hidden.mean(0) if pooling == "mean" else hidden[0]
    return (vector / vector.norm()).numpy()


@pytest.mark.parametrize("backend", ["torch", "onnx"])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("make", [tiny.bert, tiny.roberta])
def test_vectors_are_those_of_transformers(tmp_path: Path, backend: str, pooling: str, make: Any) -> None:
    model = make(tmp_path / "model")
    sentence = "w1 w2 w3 w4 w5"
    found = encoder(model, backend=backend, pooling=pooling).encode([sentence, "w6"])
    np.testing.assert_allclose(found[0], by_hand(model, sentence, pooling), atol=1e-5)
    assert found.dtype == np.float32


@pytest.mark.parametrize("settings", [{"backend": "torch"}, {"backend": "onnx"}, {"precision": "int8"}])
def test_neighbours_in_a_batch_change_nothing(bert: str, settings: dict[str, Any]) -> None:
    """int8 with one scale per tensor fails this: the largest number of any text sets the step of all."""
    some = encoder(bert, **settings)
    given = texts()
    together = some.encode(given)
    alone = np.concatenate([some.encode([each]) for each in given])
    np.testing.assert_allclose(alone, together, atol=1e-5)
    np.testing.assert_allclose(some.encode(given[::-1])[::-1], together, atol=1e-5)


def test_a_long_text_is_the_weighted_mean_of_its_windows(bert: str) -> None:
    words = texts(1, most=100, seed=3)[0].split()
    assert len(words) > 60
    some = encoder(bert, normalise=False, max_length=32)  # 30 words and two ends; 8 words are read twice
    starts = [0, *range(22, len(words) - 8, 22)]
    windows = [words[start : start + 30] for start in starts]
    vectors = some.encode([" ".join(window) for window in windows])
    weights = np.array([len(window) + 2 for window in windows])
    assert len(windows) > 2
    np.testing.assert_allclose(some.encode([" ".join(words)])[0], weights @ vectors / weights.sum(), atol=1e-5)


def test_the_prefix_stands_before_each_text(bert: str) -> None:
    with_prefix = encoder(bert, prefix="w7 ").encode(["w1 w2", "w3"])
    np.testing.assert_allclose(with_prefix, encoder(bert).encode(["w7 w1 w2", "w7 w3"]), atol=1e-6)
    assert encoder(bert, prefix="w7 ").fingerprint != encoder(bert).fingerprint


def test_length_comes_from_the_model(tmp_path: Path, bert: str) -> None:
    """Token 513 of a model with 512 positions is read beyond the table."""
    assert encoder(bert)._max_length == 48
    roberta = tiny.roberta(tmp_path / "roberta")
    assert encoder(roberta)._max_length == 47
    with pytest.raises(ModelError, match="reads at most 47 tokens, and max_length is 48"):
        encoder(roberta, max_length=48).encode(["w1"])
    limited = tiny.bert(tmp_path / "limited")
    Path(limited, "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 20}), encoding="utf-8")
    assert encoder(limited)._max_length == 20
    assert encoder(limited, max_length=30)._max_length == 30


def test_batches_hold_texts_of_like_length() -> None:
    lengths = np.random.default_rng(0).integers(1, 300, 200).tolist()
    found = list(transformer.by_length(lengths, most=8))
    assert sorted(place for batch in found for place in batch) == list(range(200))
    for batch in found:
        assert len(batch) <= 8
        assert len(batch) == 1 or len(batch) * max(lengths[place] for place in batch) <= transformer.TOKENS
    assert [max(lengths[n] for n in batch) for batch in found] == sorted(max(lengths[n] for n in b) for b in found)


def test_a_graph_is_made_once(bert: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And serves every prefix and batch size, but not another pooling."""
    expected = encoder(bert, backend="onnx", prefix="w2 ").encode(["w1"])
    monkeypatch.setattr(onnx_export, "_export", lambda *_: pytest.fail("exported again"))
    np.testing.assert_array_equal(encoder(bert, backend="onnx", batch_size=2).encode(["w2 w1"]), expected)
    assert [path.name for path in cache.glob("*/*")] == ["model.onnx"]
    with pytest.raises(BaseException, match="exported again"):
        encoder(bert, backend="onnx", pooling="cls").encode(["w1"])
    assert len(list(cache.iterdir())) == 1


def test_a_wrong_graph_is_not_kept(
    bert: str, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Some models come out of the exporter with a branch missing; nobody would notice but by bad recommendations."""
    export = onnx_export._export

    def other(model: transformer.Pooled, path: Path) -> None:
        export(transformer.Pooled(model.model, "cls").eval(), path)

    monkeypatch.setattr(onnx_export, "_export", other)
    with pytest.raises(ModelError, match="is off by"):
        encoder(bert, backend="onnx").encode(["w1"])
    assert list(cache.iterdir()) == []
    with caplog.at_level(logging.WARNING):
        found = encoder(bert).encode(["w1"])
    assert "runs in torch, since as ONNX it doesn't" in caplog.text
    np.testing.assert_allclose(found[0], by_hand(bert, "w1"), atol=1e-5)


def test_without_onnxruntime_torch_runs(bert: str, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else found(name))
    np.testing.assert_allclose(encoder(bert).encode(["w1"])[0], by_hand(bert, "w1"), atol=1e-5)
    assert not cache.exists()
    with pytest.raises(MissingExtraError, match="onnxruntime"):
        encoder(bert, backend="onnx").encode(["w1"])


def test_int8_is_checked_once_on_as_many_texts(bert: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one text there are no neighbours to lose, so a larger chunk is checked again."""
    some = encoder(bert, precision="int8")
    some.encode(["w1"])
    assert _checked(cache) == 1
    exact, whole = encoder(bert).encode(texts()), some.encode(texts())
    assert _checked(cache) == 30
    found = agreement(exact, whole)
    assert 0.99 < found.cosine < 1
    monkeypatch.setattr(text, "agreement", lambda *_: pytest.fail("compared again"))
    encoder(bert, precision="int8").encode(texts(20))


def test_int8_that_strays_is_refused(bert: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = onnx_export._blocks

    def coarse(matrix: NDArray[np.float32]) -> Any:
        numbers, scales = blocks(matrix)
        return (numbers // 64 * 64).astype(np.uint8), scales

    monkeypatch.setattr(onnx_export, "_blocks", coarse)
    some = encoder(bert, precision="int8")
    for _ in range(2):
        with pytest.raises(ModelError, match=r"smallest cosine is 0\.\d+ .* nearest stay .*set precision to float32"):
            some.encode(texts())
    assert not list(cache.glob("*/agreement.json"))


def test_int8_makes_the_graph_smaller(bert: str, cache: Path) -> None:
    encoder(bert, precision="int8").encode(["w1"])
    exact, whole = sorted(cache.glob("*/model.onnx"), key=lambda path: path.stat().st_size, reverse=True)
    assert whole.parent.name == f"{exact.parent.name}-int8"


def test_int8_runs_in_onnx_only() -> None:
    with pytest.raises(ValidationError, match="int8 runs in ONNX only"):
        TextConfig(model="x", precision="int8", backend="torch")


def test_blocks_keep_each_weight_within_half_a_step() -> None:
    matrix = np.random.default_rng(0).normal(size=(70, 5)).astype(np.float32)  # 70 rows: three blocks, one not full
    numbers, scales = onnx_export._blocks(matrix)
    assert numbers.shape == (5, 3, 32)
    back = ((numbers.astype(np.float32) - 128) * scales[:, :, None]).reshape(5, 96).T
    assert (np.abs(back[:70] - matrix) <= np.repeat(scales.T, 32, axis=0)[:70] / 2 + 1e-6).all()
    assert (back[70:] == 0).all()


def test_agreement_by_hand() -> None:
    """Twelve texts in a half-open fan: of each one's eleven others the farthest isn't among the ten nearest."""
    angles = np.deg2rad(5.0 * np.arange(12))
    exact = np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)
    turned = exact.copy()
    turned[0] *= -1  # now the farthest from all others, as it was from those beyond the middle
    assert agreement(exact, turned) == Agreement(12, -1.0, 0.95)
    assert agreement(exact, 3 * exact) == Agreement(12, 1.0, 1.0)
    assert agreement(exact[:1], exact[1:2]).overlap == 1.0


def test_equally_near_neighbours_may_stand_for_each_other() -> None:
    """A catalogue with many equal texts would fail int8 for the order in which it names them."""
    exact = np.eye(2, dtype=np.float32)[np.arange(40) % 2]
    noise = np.random.default_rng(0).normal(scale=1e-6, size=exact.shape).astype(np.float32)
    assert agreement(exact, exact + noise).overlap == 1.0


def test_the_fingerprint_follows_the_files(tmp_path: Path) -> None:
    model = tiny.bert(tmp_path / "model")
    before = encoder(model).fingerprint
    assert encoder(model).fingerprint == before
    tiny.bert(tmp_path / "model", seed=1)
    assert encoder(model).fingerprint != before
    names = {path.name for path in encoder(model).files()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names


def test_faults_of_a_model_are_told(tmp_path: Path, bert: str) -> None:
    with pytest.raises(ModelError, match="holds no tokenizer that can be loaded"):
        encoder(str(tmp_path)).encode(["w1"])
    with pytest.raises(ModelError, match=r"lacks adapter_config\.json; name the folder that fine-tuning wrote"):
        encoder(bert, adapter=str(tmp_path)).encode(["w1"])
    broken = Path(tiny.bert(tmp_path / "broken"))
    (broken / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelError, match="can't be loaded by transformers"):
        encoder(str(broken)).encode(["w1"])
    both = tmp_path / "both"
    settings = transformers.T5Config(vocab_size=64, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    transformers.T5Model(settings).save_pretrained(both)
    with pytest.raises(ModelError, match="has a decoder, too"):
        transformer.load_model(both)


def _checked(cache: Path) -> int:
    (path,) = cache.glob("*/agreement.json")
    return int(json.loads(path.read_text(encoding="utf-8"))["texts"])
