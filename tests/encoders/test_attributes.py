"""Attributes: categories and numbers, learned from a catalogue, the same for items that come later."""

from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from distilrec.data import Modality, contents_of
from distilrec.data.files import open_frame
from distilrec.data.interactions import Ids
from distilrec.encoders import AttributesConfig, build_encoder, load_encoder, save_encoder

ITEMS = pl.DataFrame(
    {
        "id": [0, 1, 2, 3],
        "genre": [["War", "Drama"], ["Drama"], [], ["Drama", "Film"]],
        "year": [1980, 2000, None, 1990],
        "colour": ["red", "blue", "red", None],
        "empty": [None, None, None, None],
    }
)


def encoder_of(config=None):
    modality = Modality(kind="attributes", columns=("genre", "year", "colour", "empty"))
    contents = contents_of(open_frame(ITEMS), "id", modality, Ids(pl.Series([0, 1, 2, 3])))
    return build_encoder(config or AttributesConfig(), contents)


def test_values_worked_by_hand():
    encoder = encoder_of(AttributesConfig(categories=2))
    learned = encoder.config.learned
    assert learned["year"] == pytest.approx((1990.0, (200 / 3) ** 0.5))
    assert {**learned, "year": None} == {"genre": ("Drama", "Film"), "year": None, "colour": ("red", "blue")}
    rows = [{"genre": ["War", "Drama"], "year": 1980, "colour": "red"}, {"genre": None, "year": None, "colour": "pink"}]
    deviation = -10 / (200 / 3) ** 0.5
    expected = [[1, 0, 1, deviation, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0, 0, 1]]
    np.testing.assert_allclose(encoder.encode(rows), np.array(expected, np.float32), rtol=1e-6)


def test_saved_and_loaded_it_encodes_alike(tmp_path):
    """New items must get what they would have got in training, without the catalogue."""
    encoder = encoder_of()
    save_encoder(encoder, tmp_path)
    again = load_encoder(tmp_path)
    row = {"genre": ["Film"], "year": 2024, "colour": "blue"}
    assert np.array_equal(again.encode([row]), encoder.encode([row]))
    assert again.fingerprint == encoder.fingerprint != encoder_of(AttributesConfig(categories=1)).fingerprint


def test_a_string_with_bars_is_a_list():
    """So MovieLens and others write genres; as one category each, most combinations would be rare."""
    items = pl.DataFrame({"id": [0, 1, 2], "genre": ["Drama|War", "Drama", "|War|"]})
    modality = Modality(kind="attributes", columns=("genre",))
    encoder = build_encoder(
        AttributesConfig(), contents_of(open_frame(items), "id", modality, Ids(pl.Series([0, 1, 2])))
    )
    assert encoder.config.learned == {"genre": ("Drama", "War")}
    assert encoder.encode([{"genre": "War|Musical"}]).tolist() == [[0, 1, 1]]


def test_numbers_of_any_type_are_numbers():
    """A price of type decimal would be a category of its own each, and one as text unknown, without a word."""
    prices = [Decimal("10.50"), Decimal("12.50")]
    items = pl.DataFrame({"id": [0, 1], "price": pl.Series(prices, dtype=pl.Decimal(10, 2))})
    modality = Modality(kind="attributes", columns=("price",))
    contents = contents_of(open_frame(items), "id", modality, Ids(pl.Series([0, 1])))
    encoder = build_encoder(AttributesConfig(), contents)
    assert encoder.config.learned == {"price": (11.5, 1.0)}
    told = [{"price": value} for value in (Decimal("12.5"), 12.5, "12.5", "cheap", None)]
    assert encoder.encode(told).tolist() == [[1, 1], [1, 1], [1, 1], [0, 0], [0, 0]]
