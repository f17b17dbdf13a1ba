import json

import pytest
import torch

from distilrec.errors import ArtefactError
from distilrec.models import (
    HistoryEncoderConfig,
    MatrixFactorizationConfig,
    build,
    load_model,
    quantize_,
    save_model,
)


@pytest.fixture
def model():
    return build(MatrixFactorizationConfig(embedding_size=16), 100, 300, seed=0)


def test_int8_is_within_half_a_step(model):
    """A scale per matrix instead of per row would cost rare items all their digits."""
    with torch.no_grad():
        model.items[7] *= 1e-3
    before = model.items.detach().clone()
    quantize_(model, "int8")
    step = before.abs().amax(1, keepdim=True) / 127
    assert bool(((model.items - before).abs() <= 0.6 * step).all())


@pytest.mark.parametrize("factor", [1e-6, 1e-12, 0.0, 1e6])
def test_int8_keeps_the_digits_of_tiny_and_huge_matrices(model, factor):
    """A float16 scale is 0 below 6e-8 and infinite above 65504: all scores would be 0, or NaN."""
    with torch.no_grad():
        model.items *= factor
        model.items[7] *= 1e-3
    before = model.items.detach().clone()
    quantize_(model, "int8")
    step = before.abs().amax(1, keepdim=True) / 127
    assert bool(((model.items - before).abs() <= 0.6 * step).all())


def test_bytes_shrink_with_precision(model, tmp_path):
    """A precision that is only written into the settings saves nothing."""
    sizes = [save_model(model, tmp_path / p, p) for p in ("float32", "float16", "int8")]
    assert sizes[1] < 0.55 * sizes[0]
    assert sizes[2] < 0.35 * sizes[0]


def test_product_quantisation_of_few_distinct_vectors_is_exact_and_quiet(model):
    """k-means warns of empty clusters, which is no user's concern."""
    with torch.no_grad():
        model.items.copy_(torch.arange(300).remainder(8).unsqueeze(1).expand(-1, 16) / 8)
    before = model.items.detach().clone()
    torch.testing.assert_close(quantize_(model, "pq").items.detach(), before)


def test_product_quantisation_of_few_items():
    model = build(MatrixFactorizationConfig(embedding_size=6), 3, 20, seed=0)
    before = model.items.detach().clone()
    assert (quantize_(model, "pq").items - before).abs().max() < 0.01


@pytest.mark.parametrize(
    "change",
    [{"format": 2}, {"config": {"model": "unknown"}}, {"n_items": None}, {"n_items": 299}],
    ids=["format", "model", "type", "shape"],
)
def test_foreign_settings_are_named(model, tmp_path, change):
    """A model of another version that loads by accident answers nonsense."""
    save_model(model, tmp_path)
    settings = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(settings | change))
    with pytest.raises(ArtefactError, match=f"The model in {tmp_path} can't be read"):
        load_model(tmp_path)


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_damaged_and_missing_files_are_named(model, tmp_path, name):
    save_model(model, tmp_path)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArtefactError, match="can't be read"):
        load_model(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ArtefactError, match="can't be read"):
        load_model(tmp_path)


def test_what_is_recent_stays_recent_in_int8():
    """One scale for weights that fall over hundreds of places would make the last few items alike."""
    model = build(HistoryEncoderConfig(embedding_size=16, heads=4, history_length=512), 10, 30, seed=0)
    before = model.distance_bias.detach().clone()
    assert before.numel() > 1_024
    quantize_(model, "int8")
    torch.testing.assert_close(model.distance_bias.softmax(1), before.softmax(1), atol=1e-3, rtol=0)
