"""What a bundle says to those who call it otherwise than it is meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from distilrec.bundle import Bundle
from distilrec.errors import ArtefactError, DataError
from distilrec.models import HistoryEncoderConfig, build


@pytest.fixture
def bundle() -> Bundle:
    """Of three items, and one user."""
    items = pl.DataFrame({"item": ["i", "1", "i1"], "title": ["", "", ""]})
    users = pl.DataFrame({"user": ["u"], "history": [[0]]}, schema_overrides={"history": pl.List(pl.Int32)})
    return Bundle(build(HistoryEncoderConfig(embedding_size=2), 1, 3, seed=0).eval(), items, users)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"users": "u"}, r"users is 'u', expected a list; write users=\['u'\]"),
        ({"users": 7}, r"users is 7, expected a list"),
        ({"users": ["u"], "candidates": "i1"}, r"candidates is 'i1', expected a list; write candidates=\['i1'\]"),
        ({"histories": "i1"}, r"write histories=\[\['i1'\]\]"),
        ({"histories": ["i1", "1"]}, r"'i1' stands where histories expects a list of item ids, one for each query"),
        ({"histories": [7]}, r"7 stands where histories expects a list"),
    ],
)
def test_one_id_in_the_place_of_a_list_is_refused(bundle: Bundle, asked: dict[str, Any], said: str) -> None:
    """A text is a list of letters, and of these some may be items: the answer would be nonsense without a word."""
    with pytest.raises(DataError, match=said):
        bundle.recommend(**asked)


def test_other_kinds_of_lists_are_read(bundle: Bundle) -> None:
    """Prevents a check that knows lists only."""
    first = bundle.recommend(histories=[["i1"]], k=2)
    for histories in ([("i1",)], [np.array(["i1"])], (pl.Series(["i1"]),)):
        assert bundle.recommend(histories=histories, k=2).equals(first)
    assert bundle.recommend(users=np.array(["u"]), candidates=pl.Series(["i1"]))["item"].to_list() == ["i1"]


def test_the_folder_of_a_run_is_told_from_its_bundle(bundle: Bundle, tmp_path: Path) -> None:
    """Prevents the advice to train a model again that is there, one folder below."""
    with pytest.raises(ArtefactError, match=r"is no bundle, it has no bundle.json; a run that is finished has one"):
        Bundle.from_pretrained(tmp_path)
    bundle.save_pretrained(tmp_path / "bundle")
    with pytest.raises(ArtefactError, match=rf"is no bundle.*; that of this run lies in {tmp_path / 'bundle'}$"):
        Bundle.from_pretrained(tmp_path)
    assert Bundle.from_pretrained(tmp_path / "bundle").items.equals(bundle.items)
