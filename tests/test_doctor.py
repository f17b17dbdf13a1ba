"""The doctor must not break where something is broken, nor call present what is missing."""

from __future__ import annotations

import importlib.metadata
import os
import sys
import tomllib
from pathlib import Path

import pytest

from distilrec.doctor import _EXTRAS, Check, _package, examine


def found(name: str) -> Check:
    return next(check for check in examine() if check.name == name)


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISTILREC_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("extra", ["data", "serve", "train", "content"])
def test_every_package_of_an_extra_says_what_it_is_for(extra: str) -> None:
    """A new dependency without a phrase would be listed with an empty one."""
    content = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    named = {text.split(">")[0] for text in content["project"]["optional-dependencies"][extra]}
    assert {name for name in named if not name.startswith("distilrec[")} == _EXTRAS[extra].keys()


@pytest.mark.parametrize(
    ("requirement", "name"),
    [
        ("numpy>=1.26", "numpy>=1.26"),
        ('torch>=2.4; extra == "train"', "torch>=2.4"),
        ("scipy ; extra == 'train'", "scipy"),
        ("pillow>=10.1; extra == 'content'", "pillow>=10.1"),
    ],
)
def test_requirements_are_read_with_their_extra(requirement: str, name: str) -> None:
    check = _package(requirement)
    assert check is not None
    assert check.name == name
    assert check.found is not None


def test_requirements_for_developers_are_left_out() -> None:
    assert _package('pytest>=8; extra == "dev"') is None
    assert _package("distilrec[train]; extra == 'content'") is None
    assert _package("torch>=2.4; extra == 'content'") is None  # as pip tells of the extra within


def no_version(name: str) -> str:
    raise importlib.metadata.PackageNotFoundError(name)


def test_a_missing_package_is_missing_and_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ['torch>=1; extra == "train"'])
    monkeypatch.setattr(importlib.metadata, "version", no_version)
    check = found("torch>=1")
    assert check.found is None
    assert check.install == "pip install 'distilrec[train]'"


def test_a_source_tree_that_is_not_installed_can_be_examined(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", unknown)
    assert found("distilrec").found is None


def test_a_broken_torch_is_reported_and_not_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # makes `import torch` an ImportError
    check = found("PyTorch's device")
    assert check.found is None
    assert "can't be imported" in check.without


def test_looking_writes_nothing(tmp_path: Path) -> None:
    """A doctor that makes the folder would find it there the next time."""
    assert found("Data folder").found == str(tmp_path / "cache" / "distilrec")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert found("Data folder").found is None


def test_a_data_folder_that_is_not_there_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistyped DISTILREC_DATA would be made by the next fetch, beside the folder that was meant."""
    monkeypatch.setenv("DISTILREC_DATA", str(tmp_path / "mistyped"))
    assert found("DISTILREC_DATA").found is None
    assert found("Data folder").found == str(tmp_path / "mistyped")
    assert list(tmp_path.iterdir()) == []


def test_a_named_set_is_found_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found("Data set ml-100k").found is None
    folder = tmp_path / "sets" / "ml-100k"
    folder.mkdir(parents=True)
    (folder / "interactions.parquet").touch()
    monkeypatch.setenv("DISTILREC_DATA", str(tmp_path / "sets"))
    assert found("Data set ml-100k").found == str(folder)
