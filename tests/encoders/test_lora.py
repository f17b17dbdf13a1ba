"""Fine-tuning: texts of items that are taken together must come together, by a path that can be walked again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from distilrec.data import Contents, Interactions, Modality, contents_of
from distilrec.data.files import open_frame
from distilrec.data.interactions import Ids
from distilrec.encoders.base import Encoder
from distilrec.encoders.language_model import LanguageModelConfig, LanguageModelEncoder
from distilrec.encoders.lora import LoRAConfig, fine_tune, info_nce, item_pairs
from distilrec.encoders.text import TextConfig, TextEncoder
from distilrec.errors import DataError, ModelError, RecipeError
from distilrec.scoring import Ragged
from tests.encoders import tiny

N_ITEMS, N_CLUSTERS, COLD = 80, 8, 16
SETTINGS = LoRAConfig(epochs=3, pairs=480, batch_size=16, learning_rate=5e-3, temperature=0.1, max_length=16)


def catalogue() -> tuple[list[str], Contents]:
    """Item i is of cluster i mod 8: one word in three says so, the other two are of those that all clusters use."""
    rng = np.random.default_rng(0)
    texts = []
    for item in range(N_ITEMS):
        own = f"w{2 * (item % N_CLUSTERS) + rng.integers(2)}"
        texts.append(" ".join([f"w{rng.integers(20, 60)}", own, f"w{rng.integers(20, 60)}"]))
    frame = pl.DataFrame({"id": range(N_ITEMS), "text": texts})
    table = open_frame(frame, "items.parquet")
    modality = Modality(kind="text", columns=("text",))
    return texts, contents_of(table, "id", modality, Ids(pl.Series(range(N_ITEMS))))


def log() -> Interactions:
    """Users who stay within a cluster; the last 16 items are cold."""
    rng = np.random.default_rng(1)
    warm = np.arange(N_ITEMS - COLD)
    rows = [rng.permutation(warm[warm % N_CLUSTERS == user % N_CLUSTERS]).tolist() for user in range(60)]
    return Interactions(Ragged.from_rows(rows), N_ITEMS)


def mates(encoder: Encoder, texts: list[str], items: np.ndarray[Any, Any]) -> float:
    """Of the five items nearest to each of `items` the share that are of its cluster."""
    vectors = encoder.encode(texts)
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    nearest = np.argsort(-scores[items], axis=1)[:, :5]
    return float((nearest % N_CLUSTERS == items[:, None] % N_CLUSTERS).mean())


def test_items_taken_together_come_together(tmp_path: Path) -> None:
    """Those that nobody took, too: a model that only learned the training items by heart is of no use for cold ones."""
    texts, contents = catalogue()
    config = TextConfig(model=tiny.bert(tmp_path / "bert"), backend="torch")
    losses: list[float] = []
    tuned = fine_tune(
        config, contents, log(), SETTINGS, tmp_path / "adapter", seed=0, on_epoch=lambda _, loss: losses.append(loss)
    )
    warm, cold = np.arange(N_ITEMS - COLD), np.arange(N_ITEMS - COLD, N_ITEMS)
    before, after = TextEncoder(config), TextEncoder(tuned)
    for items in (warm, cold):
        assert mates(before, texts, items) < 0.5
        assert mates(after, texts, items) > 0.8
    assert len(losses) == SETTINGS.epochs
    assert losses[-1] < losses[0]


def test_an_adapter_is_part_of_the_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph that was exported before the fine-tuning must not answer for the model after it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    texts, contents = catalogue()
    config = TextConfig(model=tiny.bert(tmp_path / "bert"), backend="onnx")
    plain = TextEncoder(config).encode(texts)
    tuned = fine_tune(config, contents, log(), SETTINGS, tmp_path / "adapter", seed=0)
    in_torch = TextEncoder(tuned.model_copy(update={"backend": "torch"})).encode(texts)
    np.testing.assert_allclose(TextEncoder(tuned).encode(texts), in_torch, atol=1e-5)
    assert np.abs(plain - in_torch).max() > 0.1
    assert TextEncoder(tuned).fingerprint != TextEncoder(config).fingerprint


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    """And leaves the global generator as it was."""
    _, contents = catalogue()
    config = TextConfig(model=tiny.bert(tmp_path / "bert"))
    short = SETTINGS.model_copy(update={"epochs": 1, "pairs": 64})
    written = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        torch.manual_seed(len(written))
        state = torch.get_rng_state()
        fine_tune(config, contents, log(), short, tmp_path / name, seed=seed)
        assert torch.equal(torch.get_rng_state(), state)
        written.append([path.read_bytes() for path in sorted((tmp_path / name).iterdir())])
    assert len(written[0]) == 2
    assert written[0] == written[1]
    assert written[0][1] != written[2][1]


def test_a_language_model_is_tuned_alike(tmp_path: Path) -> None:
    texts, contents = catalogue()
    config = LanguageModelConfig(
        model=tiny.gpt2(tmp_path / "gpt2"), template="a film: {text}", pooling="mean", max_length=64
    )
    tuned = fine_tune(config, contents, log(), SETTINGS, tmp_path / "adapter", seed=0)
    cold = np.arange(N_ITEMS - COLD, N_ITEMS)
    assert mates(LanguageModelEncoder(config), texts, cold) < 0.5
    assert mates(LanguageModelEncoder(tuned), texts, cold) > 0.8


def test_training_reads_no_more_than_the_model(tmp_path: Path) -> None:
    """The model has 48 positions, and of texts without a limit 64 tokens would be read."""
    frame = pl.DataFrame({"id": range(4), "text": ["w1 " * 90] * 4})
    table = open_frame(frame, "items.parquet")
    contents = contents_of(table, "id", Modality(kind="text", columns=("text",)), Ids(pl.Series(range(4))))
    pairs = Interactions(Ragged.from_rows([[0, 1], [2, 3]]), 4)
    fine_tune(TextConfig(model=tiny.bert(tmp_path / "bert")), contents, pairs, LoRAConfig(), tmp_path / "a", seed=0)


def test_pairs_are_neighbours_in_one_history() -> None:
    train = Interactions(Ragged.from_rows([[0, 1, 1, 3], [2, 0, 4], []]), n_items=5)
    known = np.array([True, True, True, True, False])
    assert item_pairs(train, known).tolist() == [[0, 1], [1, 3], [2, 0]]


def test_loss_by_hand() -> None:
    first = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    second = torch.tensor([[3.0, 0.0], [1.0, 1.0]])  # cosines: 1, 0.7071; 0, 0.7071
    half = 0.5**0.5
    rows = [np.log(1 + np.exp((half - 1) / 0.5)), np.log(1 + np.exp((0 - half) / 0.5))]
    columns = [np.log(1 + np.exp((0 - 1) / 0.5)), np.log(2)]
    found = info_nce(first, second, torch.tensor([[0, 1], [2, 3]]), 0.5)
    assert float(found) == pytest.approx(np.mean(rows + columns), rel=1e-6)


@pytest.mark.parametrize("items", [[[0, 1], [0, 1]], [[0, 1], [1, 0]]])
def test_own_items_are_no_negatives(items: list[list[int]]) -> None:
    """Otherwise an item would be pushed away from itself."""
    vectors = torch.randn(2, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    loss = info_nce(vectors, vectors.flip(0), torch.tensor(items), 0.05)
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == 0.0
    assert vectors.grad is not None
    assert torch.isfinite(vectors.grad).all()


def test_faults_are_told(tmp_path: Path) -> None:
    _, contents = catalogue()
    config = TextConfig(model=tiny.bert(tmp_path / "bert"))
    with pytest.raises(RecipeError, match="start from the model without it"):
        fine_tune(config.model_copy(update={"adapter": "x"}), contents, log(), SETTINGS, tmp_path / "a", seed=0)
    lonely = Interactions(Ragged.from_rows([[0], [1]]), N_ITEMS)
    with pytest.raises(DataError, match="no user took two items with text"):
        fine_tune(config, contents, lonely, SETTINGS, tmp_path / "a", seed=0)
    hot = SETTINGS.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(ModelError, match="lower learning_rate"):
        fine_tune(config, contents, log(), hot, tmp_path / "a", seed=0)
    assert not (tmp_path / "a").exists()
