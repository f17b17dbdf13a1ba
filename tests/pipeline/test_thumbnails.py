"""Pictures of the items that a report lists."""

from __future__ import annotations

import base64
import io

import polars as pl
from PIL import Image

from distilrec.data import Columns, Dataset, ItemColumns, Modality, from_dataframe
from distilrec.pipeline.thumbnails import HEIGHT, WIDEST, thumbnails
from distilrec.report.parts import Example, Listed


class Listing:
    """As much of a report as is looked at."""

    def __init__(self, *items: str) -> None:
        listed = [Listed(item=item, title=item, hit=False) for item in items]
        self.examples = [Example(user="u", history=[], held_out=[], teacher=listed[:1], student=listed)]


def picture(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(file, "png")
    return file.getvalue()


def dataset(kind: str = "image") -> Dataset:
    log = pl.DataFrame({"user": ["a"] * 4, "item": [1, 2, 3, 4]})
    pictures = [picture(400, 600), picture(900, 100), b"broken", None]
    items = pl.DataFrame({"item": [1, 2, 3, 4], "picture": pictures, "text": ["x"] * 4})
    content = {"it": Modality(kind=kind, columns=("picture" if kind == "image" else "text",))}  # type: ignore[arg-type]
    return from_dataframe(
        log, Columns(user="user", item="item"), items=items, item_columns=ItemColumns(item="item"), content=content
    ).dataset


def test_listed_items_have_small_pictures_and_broken_ones_none():
    found = thumbnails(Listing("4", "1", "3", "2"), dataset())  # type: ignore[arg-type]
    assert sorted(found) == ["1", "2"]
    sizes = {}
    for name, uri in found.items():
        head, _, code = uri.partition(",")
        assert head == "data:image/jpeg;base64"
        sizes[name] = Image.open(io.BytesIO(base64.b64decode(code))).size
    assert sizes == {"1": (HEIGHT * 2 // 3, HEIGHT), "2": (WIDEST, WIDEST // 9)}
    assert list(thumbnails(Listing("2"), dataset())) == ["2"]  # type: ignore[arg-type]


def test_without_pictures_there_are_none():
    assert thumbnails(Listing("1"), dataset("text")) == {}  # type: ignore[arg-type]
