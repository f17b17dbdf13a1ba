"""Guessing content: what each column of an items file holds, told by its name and first values."""

import polars as pl
import pytest

from distilrec.data import DataConfig, guess, guess_items, load
from distilrec.data.columns import ItemColumns
from distilrec.data.files import open_frame
from distilrec.data.guess_content import guess_content

N = 30
PLOTS = [f"A story of {n} people who meet and part again" for n in range(N)]


def guessed(**columns):
    frame = pl.DataFrame({"id": range(N), **columns})
    found = guess_content(open_frame(frame), ItemColumns(item="id", title="title" if "title" in columns else None))
    return {name: (each.kind, each.columns) for name, each in found.items()}


def test_every_kind_at_once():
    found = guessed(
        title=[f"T{n}" for n in range(N)],
        plot=PLOTS,
        genres=[["x", "y"]] * N,
        year=range(1990, 1990 + N),
        poster=[b"\xff\xd8\xff\xe0" + b"." * 20] * N,
        sound=[None] * (N - 1) + [b"RIFF....WAVEfmt "],
        embedding=[[0.5, 1.5]] * N,
        blob=[b"\x00\x01\x02"] * N,
    )
    assert found == {
        "text": ("text", ("title", "plot")),
        "attributes": ("attributes", ("genres", "year")),
        "poster": ("image", ("poster",)),
        "sound": ("audio", ("sound",)),
        "embedding": ("vectors", ("embedding",)),
    }


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([f"images/{n}.JPG" for n in range(N)], "image"),
        ([f"{n}.flac" for n in range(N)], "audio"),
        (["red", "blue"] * (N // 2), "attributes"),
        ([f"name{n}" for n in range(N)], "text"),
        ([b"RIFF....WEBPVP8 "] * N, "image"),
    ],
)
def test_values_tell(values, kind):
    assert [each for each, _ in guessed(x=values).values()] == [kind]


def test_vectors_written_as_text_are_no_words():
    """A CSV's "[0.1, 0.2]" would be read by a language model."""
    assert guessed(x=[f"[{n}.25, -0.5, 1e-3]" for n in range(N)]) == {}


def test_what_later_times_wrote_is_kept_apart():
    """A rating or an award tells what people came to think, which the user's future is made of."""
    columns = ItemColumns(item="id")
    frame = pl.DataFrame({"id": range(N), "imdbRating": [5.0] * N, "Awards": PLOTS, "year": range(N)})
    found = guess_content(open_frame(frame), columns)
    assert {name: (each.columns, each.knows_later) for name, each in found.items()} == {
        "attributes": (("year",), False),
        "later_text": (("Awards",), True),
        "later_attributes": (("imdbRating",), True),
    }


def test_a_modality_has_a_name_that_a_recipe_may_have():
    assert list(guessed(**{"Größe-Bild 1": [b"\x89PNG..."] * N})) == ["gr__e_bild_1"]


def test_init_takes_the_content_along(tmp_path):
    pl.DataFrame({"user": [1, 1, 1], "item": [5, 6, 7], "time": [1, 2, 3]}).write_csv(tmp_path / "log.csv")
    pl.DataFrame({"item_id": [5, 6, 7], "plot": PLOTS[:3]}).write_csv(tmp_path / "items.csv")
    config = guess(tmp_path / "log.csv", items=tmp_path / "items.csv").config
    assert config.items == guess_items(tmp_path / "log.csv", tmp_path / "items.csv")
    assert load(config).dataset.contents["text"].known.all()
    assert guess_items(tmp_path / "log.csv") is None
    assert load(DataConfig(source=str(tmp_path / "log.csv"))).dataset.contents == {}


def test_columns_whose_names_come_out_alike_are_all_kept():
    picture = [b"\xff\xd8\xff\xe0" + b"." * 20] * N
    found = guessed(plot=PLOTS, 图片=picture, 海报=picture, Text=[[0.5, 1.5]] * N)
    assert found == {
        "text": ("text", ("plot",)),
        "image": ("image", ("图片",)),
        "image_2": ("image", ("海报",)),
        "text_2": ("vectors", ("Text",)),
    }
