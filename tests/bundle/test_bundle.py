"""What a bundle says to those who call it otherwise than it is meant."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import huggingface_hub
import numpy as np
import onnx
import polars as pl
import pytest
from safetensors.numpy import save_file

from distilrec.bundle import Bundle
from distilrec.errors import ArtefactError, DataError, FetchError
from distilrec.export import BundleIds, write_bundle
from distilrec.models import HistoryEncoderConfig, build
from distilrec.runtime.manifest import write_manifest
from distilrec.scoring import Queries, Ragged


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """Of three items, and one user."""
    ids = BundleIds(["i", "1", "i1"], ["", "", ""], ["u"], Ragged.from_rows([[0]]))
    model = build(HistoryEncoderConfig(embedding_size=2), 1, 3, seed=0).eval()
    asked = Queries(np.array([0], np.int32), Ragged.from_rows([[0]])), Ragged.from_rows([[1]])
    write_bundle(model, ids, asked, tmp_path / "first")
    return Bundle.from_pretrained(tmp_path / "first")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"users": "u"}, r"users is 'u', expected a list; write users=\['u'\]"),
        ({"users": 7}, r"users is 7, expected a list"),
        ({"users": ["u"], "candidates": "i1"}, r"candidates is 'i1', expected a list; write candidates=\['i1'\]"),
        ({"histories": "i1"}, r"write histories=\[\['i1'\]\]"),
        ({"histories": ["i1", "1"]}, r"'i1' stands where histories expects a list of item ids, one for each query"),
        ({"histories": [7]}, r"7 stands where histories expects a list"),
        ({"users": ["u"], "k": -1}, r"k is -1; give a whole number from 1 on"),
        ({"users": ["u"], "k": 2.5}, r"k is 2.5; give a whole number"),
        ({"texts": [3]}, r"3 stands among the texts"),
    ],
)
def test_one_id_in_the_place_of_a_list_is_refused(bundle: Bundle, asked: dict[str, Any], said: str) -> None:
    """A text is a list of letters, and of these some may be items: the answer would be nonsense without a word."""
    with pytest.raises(DataError, match=said):
        bundle.recommend(**asked)


def test_it_is_short_to_look_at(bundle: Bundle) -> None:
    """A notebook shows what a cell returns: weights and histories would flood it."""
    assert repr(bundle) == f"Bundle(HistoryEncoder, 3 items, 1 users, {str(bundle.served.folder)!r})"


def test_held_out_queries_are_asked_as_a_server_is(tmp_path: Path) -> None:
    """What else the user took is masked in evaluation, and not known to who gets a history: the gate would fail."""
    ids = BundleIds(["i", "1", "i1"], ["", "", ""], ["u"], Ragged.from_rows([[0, 2]]))
    model = build(HistoryEncoderConfig(embedding_size=2), 1, 3, seed=0).eval()
    queries = Queries(np.array([0], np.int32), Ragged.from_rows([[0]]), seen=Ragged.from_rows([[0, 2]]))
    write_bundle(model, ids, (queries, Ragged.from_rows([[1]])), tmp_path / "bundle")
    served = Bundle.from_pretrained(tmp_path / "bundle").served
    held_out = served.held_out()
    assert sorted(held_out.expected.flat()[1].tolist()) == [1, 2]
    assert served.student.rank(held_out.queries, 2)[0].tolist() == [held_out.expected.flat()[1].tolist()]


def test_other_kinds_of_lists_are_read(bundle: Bundle) -> None:
    """Prevents a check that knows lists only."""
    first = bundle.recommend(histories=[["i1"]], k=2)
    for histories in ([("i1",)], [np.array(["i1"])], (pl.Series(["i1"]),)):
        assert bundle.recommend(histories=histories, k=2).equals(first)
    assert bundle.recommend(users=np.array(["u"]), candidates=pl.Series(["i1"]))["item"].to_list() == ["i1"]
    with pytest.raises(DataError, match="user 'nobody' isn't known"):
        bundle.recommend(users=np.array(["u", "nobody"]))


def test_the_folder_of_a_run_is_told_from_its_bundle(bundle: Bundle, tmp_path: Path) -> None:
    """Prevents the advice to train a model again that is there, one folder below."""
    with pytest.raises(ArtefactError, match=r"is no bundle, it has no bundle.json; a run that is finished has one"):
        Bundle.from_pretrained(tmp_path)
    bundle.save_pretrained(tmp_path / "bundle")
    with pytest.raises(ArtefactError, match=rf"is no bundle.*; that of this run lies in {tmp_path / 'bundle'}$"):
        Bundle.from_pretrained(tmp_path)
    assert Bundle.from_pretrained(tmp_path / "bundle").items.equals(bundle.items)


def test_neither_torch_nor_scipy_is_needed(bundle: Bundle) -> None:
    """Prevents an import by the way, for which a server would have to install gigabytes."""
    code = f"""
import sys
for name in ("torch", "scipy", "optuna", "jinja2", "transformers", "onnx"):
    sys.modules[name] = None
import distilrec
print(distilrec.from_pretrained({str(bundle.served.folder)!r}).recommend(histories=[["i1"]], k=2)["item"].to_list())
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert said.stdout.strip() == str(bundle.recommend(histories=[["i1"]], k=2)["item"].to_list()), said.stderr


def test_saving_replaces_a_bundle_and_nothing_else(bundle: Bundle, tmp_path: Path) -> None:
    """Prevents `save_pretrained("models")` from deleting what else lies there."""
    bundle.save_pretrained(tmp_path / "other")
    (tmp_path / "other" / "old").write_text("old", encoding="utf-8")
    bundle.save_pretrained(tmp_path / "other")
    assert not (tmp_path / "other" / "old").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years", encoding="utf-8")
    with pytest.raises(ArtefactError, match=r"mine holds something else, it has no bundle\.json: name another folder"):
        bundle.save_pretrained(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.tex").read_text(encoding="utf-8") == "years"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "mine", "other"]  # nothing else is left
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "other").iterdir()} == {0o644}


def damaged(folder: Path, name: str, change: str) -> None:
    path = folder / name
    content = path.read_bytes()
    if change == "missing":
        path.unlink()
    else:
        path.write_bytes(content[:-5] if change == "cut" else content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize("name", ["model.safetensors", "query.onnx", "ids.json", "histories.safetensors", "model.json"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("missing", "is missing from the bundle; copy it again"),
        ("cut", r"has [0-9,]+ bytes where the bundle says .*: it was cut short or changed; copy the bundle again"),
        ("bit", "isn't what the bundle's checksum says: damaged or changed; copy the bundle again"),
    ],
)
def test_a_damaged_file_is_named(bundle: Bundle, name: str, change: str, said: str) -> None:
    damaged(bundle.served.folder, name, change)
    with pytest.raises(ArtefactError, match=rf"{name} {said}"):
        Bundle.from_pretrained(bundle.served.folder)


def rewrite(folder: Path, **changes: Any) -> None:
    """Change the manifest, and let the rest be what it says."""
    path = folder / "bundle.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 1}, r"was written in format 1, before .*; run `distilrec run .*recipe\.yaml --out .*` again"),
        ({"format": 3}, r"has format 3, and this DistilRec reads 2; install a later DistilRec"),
        ({"format": "x"}, r"bundle\.json can't be read"),
        ({"items": 4}, r"\(3, 2\) item vectors, where the bundle tells of 4 items and width 2"),
        ({"users": 9}, r"ids\.json can't be read: expected \[3, 3, 9\] items, titles and users"),
        ({"users": 2**40}, r"bundle\.json can't be read"),
        ({"files": {}}, r"doesn't name model\.safetensors, model\.json, ids\.json, histories\.safetensors, held_out"),
        ({"hidden": "more"}, r"bundle\.json can't be read"),
    ],
)
def test_a_manifest_that_does_not_fit(bundle: Bundle, changes: dict[str, Any], said: str) -> None:
    rewrite(bundle.served.folder, **changes)
    with pytest.raises(ArtefactError, match=said):
        Bundle.from_pretrained(bundle.served.folder)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../outside", "link", "a\\..\\b"])
def test_files_outside_of_the_folder_are_not_touched(bundle: Bundle, name: str, tmp_path: Path) -> None:
    """Prevents a bundle from a hub from making its reader open, or copy, what isn't its own."""
    (tmp_path / "outside").write_text("secret", encoding="utf-8")
    (bundle.served.folder / "link").symlink_to(tmp_path / "outside")
    told = json.loads((bundle.served.folder / "bundle.json").read_text(encoding="utf-8"))
    secret = hashlib.sha256(b"secret").hexdigest()
    rewrite(bundle.served.folder, files={**told["files"], name: {"bytes": 6, "sha256": secret}})
    with pytest.raises(ArtefactError, match=r"lies outside of the bundle: don't trust it|can't be read"):
        Bundle.from_pretrained(bundle.served.folder)


def resealed(bundle: Bundle) -> None:
    """Write the manifest anew, as someone would who wants the checksums to hold."""
    write_manifest(bundle.served.manifest, bundle.served.folder)


def test_histories_of_items_that_there_are_not(bundle: Bundle) -> None:
    arrays = {"histories": np.array([3], np.int32), "histories_lengths": np.array([1])}
    save_file(arrays, bundle.served.folder / "histories.safetensors")
    resealed(bundle)
    with pytest.raises(ArtefactError, match=r"histories aren't 1 lists of items that there are"):
        Bundle.from_pretrained(bundle.served.folder)


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"items": np.zeros((3, 2), np.float32), "bias": np.zeros(4, np.float32)}, "bias or users don't fit"),
        ({"items": np.zeros(3, np.float32)}, r"expected finite item vectors \(N, D\)"),
        ({"items": np.full((3, 2), np.nan, np.float32)}, r"expected finite item vectors \(N, D\)"),
        ({"bias": np.zeros(3, np.float32)}, r"expected finite item vectors \(N, D\)"),
        ({"items": np.zeros((3, 5), np.float32)}, r"query\.onnx doesn't read vectors of width 5"),
        ({"items:codes": np.zeros((3, 2), np.uint8)}, r"model\.safetensors can't be read"),
    ],
)
def test_weights_of_other_shapes(bundle: Bundle, tensors: dict[str, Any], said: str) -> None:
    save_file(tensors, bundle.served.folder / "model.safetensors")
    resealed(bundle)
    with pytest.raises(ArtefactError, match=said):
        Bundle.from_pretrained(bundle.served.folder)


def test_a_graph_cannot_read_other_files(bundle: Bundle, tmp_path: Path) -> None:
    """Prevents a graph whose weights lie in a file of somebody else's choice from being run."""
    graph = onnx.load(bundle.served.folder / "query.onnx")
    tensor = next(each for each in graph.graph.initializer if each.raw_data)
    size = len(tensor.raw_data)
    (bundle.served.folder / "weights").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", str(bundle.served.folder / "weights")), ("offset", "0"), ("length", str(size))):
        tensor.external_data.add(key=key, value=value)
    (bundle.served.folder / "query.onnx").write_bytes(graph.SerializeToString())
    resealed(bundle)
    with pytest.raises(ArtefactError, match=r"query\.onnx can't be opened"):
        Bundle.from_pretrained(bundle.served.folder)


class Hub:
    """Stands where the Hugging Face hub would: it can't be reached from here, so only our side of it is tested."""

    folders: ClassVar[dict[str, Path]] = {}

    def __init__(self, token: str | None = None) -> None:
        self.token = token

    def create_repo(self, name: str, *, private: bool, exist_ok: bool) -> None:
        if self.token == "wrong":
            raise RuntimeError("401 Client Error\nmore lines")
        assert exist_ok
        assert private

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> str:
        self.folders[repo_id] = folder_path
        return f"https://hub.example/{repo_id}"


def fetched(name: str, local_dir: Path) -> str:
    """Every file, into the folder, as the hub's own function does where it is given one."""
    shutil.copytree(Hub.folders[name], local_dir)
    return str(local_dir)


def test_to_a_hub_and_back(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetched)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("DISTILREC_DATA", raising=False)
    assert bundle.push_to_hub("me/films") == "https://hub.example/me/films"
    asked = {"histories": [["i1"]], "k": 2}
    assert Bundle.from_pretrained("me/films").recommend(**asked).equals(bundle.recommend(**asked))
    with pytest.raises(FetchError, match=r"me/films could not be pushed \(401 Client Error\); log in with"):
        bundle.push_to_hub("me/films", token="wrong")
    with pytest.raises(FetchError, match=r"me/other is no file or folder here, and could not be fetched"):
        Bundle.from_pretrained("me/other")
