"""Exports answer as the student does, or aren't written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from distilrec.cli import main
from distilrec.errors import ModelError
from distilrec.export import TARGETS, BundleIds, Thresholds, export, write_bundle
from distilrec.export.whole import Whole, write_onnx
from distilrec.models import (
    DotProductModel,
    HistoryEncoderConfig,
    LightGCN,
    LightGCNConfig,
    MatrixFactorizationConfig,
    SASRecConfig,
    build,
    load_model,
)
from distilrec.ranking import rank
from distilrec.runtime import Lineage, Served
from distilrec.scoring import Queries, Ragged

N_USERS, N_ITEMS, LENGTH = 6, 300, 8
CONFIGS = {
    "history_encoder": HistoryEncoderConfig(embedding_size=16, history_length=LENGTH, init_std=0.3),
    "sasrec": SASRecConfig(embedding_size=16, history_length=LENGTH, init_std=0.3),
    "matrix_factorization": MatrixFactorizationConfig(embedding_size=16, item_bias=False),
    "lightgcn": LightGCNConfig(embedding_size=16),
}


def student(name: str) -> DotProductModel:
    model = build(CONFIGS[name], N_USERS, N_ITEMS, seed=0).eval()
    if isinstance(model, LightGCN):
        model.smoothed.normal_(generator=torch.Generator().manual_seed(0))
    assert isinstance(model, DotProductModel)
    return model


def queries() -> Queries:
    """Of every length about that which the students read, an empty one too; the last of nobody that is known."""
    rng = np.random.default_rng(0)
    rows = [rng.choice(N_ITEMS, size, replace=False).tolist() for size in (0, 1, LENGTH, LENGTH + 1, 3 * LENGTH, 4)]
    return Queries(np.array([0, 1, 2, 3, 4, -1], np.int32), Ragged.from_rows(rows))


def bundle(folder: Path, name: str = "history_encoder") -> Path:
    """Whose held-out targets are what the student recommends, so that it has an NDCG@10 of 1."""
    model = student(name)
    titles, taken = [f"Item {n}" for n in range(N_ITEMS)], Ragged.from_rows([[0]] * N_USERS)
    titles[7] = "Item <b>7</b>"
    asked = queries()
    found, _ = rank(model, asked, 10)
    write_bundle(
        model,
        BundleIds(range(N_ITEMS), titles, range(N_USERS), taken),
        (asked, Ragged.from_rows(found.tolist())),
        folder,
        lineage=Lineage(method="KL", alpha=0.9),
        card="# Card\n\nSaid by hand.",
    )
    return folder


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("length", [3 * LENGTH, 40])
def test_the_graph_answers_as_the_student_does(name: str, length: int, tmp_path: Path) -> None:
    """Prevents masks, truncation and padding that differ between what was measured and what is shipped."""
    model, asked = student(name), queries()
    whole = Whole(model, 10)
    write_onnx(whole, tmp_path / "student.onnx")
    histories = np.full((len(asked), length), -1, np.int64)
    for row, (start, stop) in enumerate(zip(asked.histories.starts, asked.histories.stops, strict=True)):
        histories[row, : stop - start] = asked.histories.values[start:stop]
    given = {"user": asked.users.astype(np.int64), "history": histories}
    session = onnxruntime.InferenceSession(tmp_path / "student.onnx")
    items, scores = session.run(None, {key: given[key] for key in whole.inputs})
    expected, values = rank(model, asked, 10)
    np.testing.assert_array_equal(items, expected)
    np.testing.assert_allclose(scores, values, rtol=1e-4, atol=1e-5)
    one, _ = session.run(None, {key: given[key][:1] for key in whole.inputs})
    np.testing.assert_array_equal(one, expected[:1])
    few = Queries(asked.users[:1], Ragged.from_rows([list(range(N_ITEMS - 3))]))
    given = {"user": few.users.astype(np.int64), "history": np.arange(N_ITEMS - 3)[None]}
    left, _ = session.run(None, {key: given[key] for key in whole.inputs})
    np.testing.assert_array_equal(left, rank(model, few, 10)[0])
    assert (left[0, 3:] == -1).all()


def test_int8_is_a_quarter_of_the_vectors(tmp_path: Path) -> None:
    """Prevents vectors that are written as floats after all, or twice."""
    sizes = []
    for int8 in (False, True):
        write_onnx(Whole(student("history_encoder"), 10, int8=int8), tmp_path / "student.onnx")
        sizes.append((tmp_path / "student.onnx").stat().st_size)
    assert sizes[0] - sizes[1] > 0.7 * N_ITEMS * 16 * 3


def test_an_export_passes_the_gate_and_is_told_in_the_card(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "bundle")
    info = export(folder, "onnx", tmp_path / "student.onnx")
    assert (info.overlap, info.quality, info.queries) == (1.0, 1.0, 6)
    assert info.bytes == (tmp_path / "student.onnx").stat().st_size
    assert 0 < info.p50_ms <= info.p99_ms
    export(folder, "onnx-int8", tmp_path / "small.onnx", thresholds=Thresholds(0.5, 0.5))
    (folder / "my notes.txt").write_text("not of the bundle", encoding="utf-8")
    export(folder, "onnx", tmp_path / "student.onnx", k=20)
    assert export(folder, "onnx", tmp_path / "short.onnx", k=5).overlap == 1.0
    Served.load(folder)  # which is as whole as before
    told = json.loads((folder / "exports.json").read_text(encoding="utf-8"))
    assert set(told) == {"onnx", "onnx-int8"}
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert card.startswith("# Card\n\nSaid by hand.\n\n## Exports")
    assert card.count("## Exports") == 1
    assert card.count("\n| onnx") == 2


def test_below_the_gate_nothing_is_written(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "bundle")
    before = (folder / "bundle.json").read_bytes()
    with pytest.raises(ModelError, match=r"it shares 0\.\d+ of the ten best .*\(at least 1\.0\).* over 6 held"):
        export(folder, "onnx-int8", tmp_path / "small.onnx", thresholds=Thresholds(overlap=1.0, quality=1.0))
    assert (folder / "bundle.json").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle"]


def test_a_bundle_without_held_out_queries_is_not_exported(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "bundle")
    other, nothing = Served.load(folder), Queries(np.empty(0, np.int32), Ragged.from_rows([]))
    ids = BundleIds(other.items.values, other.titles, other.users.values, other.histories)
    write_bundle(load_model(folder), ids, (nothing, nothing.histories), tmp_path / "bare")
    with pytest.raises(ModelError, match="has no held-out queries to compare on"):
        export(tmp_path / "bare", "onnx", tmp_path / "student.onnx")


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def called(*arguments: str) -> tuple[int, Any]:
        monkeypatch.setattr("sys.argv", ["distilrec", "export", *arguments, "--json"])
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0), json.loads(capsys.readouterr().out)

    folder = str(bundle(tmp_path / "bundle"))
    code, told = called(folder, "--to", "onnx-int8", "--least-overlap", "0.5", "--least-quality", "0.5")
    assert (code, told["written"]) == (0, str(tmp_path / "student-int8.onnx"))
    assert called(folder, "--to", "onnx", "--k", "1000")[1]["error"].startswith("k must lie in 1..300")
    assert called(folder, "--to", "coreml") == (1, {"error": f"--to coreml: it is one of {', '.join(TARGETS)}"})
