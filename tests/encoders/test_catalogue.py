"""Encoding a catalogue: aligned with its items, once for each content, going on where it stopped."""

import numpy as np
import polars as pl
import pytest

from distilrec.data import Features, FeatureWriter, Modality, contents_of
from distilrec.data.files import open_frame
from distilrec.data.interactions import Ids
from distilrec.encoders import Encoder, EncoderConfig, encode_contents
from distilrec.errors import DataError

IDS = Ids(pl.Series(range(6)))


class LengthConfig(EncoderConfig):
    kind = "text"


class Length(Encoder):
    """(length of the text, 1), and a count of the texts that it has seen."""

    def __init__(self, config=None, fails_at=None):
        super().__init__(config or LengthConfig())
        self.seen, self.fails_at = [], fails_at

    def files(self):
        return ()

    def prepare(self, value):
        if value == "broken":
            raise DataError("it is broken")
        return value

    def encode(self, prepared):
        if self.fails_at in prepared:
            raise KeyboardInterrupt
        self.seen += prepared
        return np.array([[len(text), 1.0] for text in prepared], np.float32)


def contents(texts, ids=range(6)):
    table = open_frame(pl.DataFrame({"id": list(ids), "text": texts}), "items.parquet")
    return contents_of(table, "id", Modality(kind="text", columns=("text",)), IDS)


def test_vectors_lie_at_the_places_of_their_items(tmp_path):
    found = encode_contents(
        contents(["aaa", None, "b", "aaa", "cc", ""], ids=[5, 4, 3, 2, 1, 0]),
        Length(),
        tmp_path / "out",
        cache=tmp_path,
    )
    assert found.features.known.tolist() == [False, True, True, True, False, True]
    assert found.features.vectors[:, 0].tolist() == [0, 2, 3, 1, 0, 3]
    assert np.array_equal(Features.open(tmp_path / "out").vectors, found.features.vectors)


def test_the_same_content_is_encoded_once(tmp_path):
    """Twice in one block, in two blocks, or in two runs."""
    encoder = Length()
    many = contents(["same", "same", "other", "same", "other", "x"])
    first = encode_contents(many, encoder, tmp_path / "1", cache=tmp_path)
    assert sorted(encoder.seen) == ["other", "same", "x"]
    assert first.encoded == 3
    again = Length()
    second = encode_contents(many, again, tmp_path / "2", cache=tmp_path)
    assert (again.seen, second.encoded) == ([], 0)
    assert np.array_equal(first.features.vectors, second.features.vectors)


def test_an_encoding_that_was_killed_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("distilrec.encoders.catalogue.ROWS", 2)
    texts = contents(["a", "bb", "ccc", "dddd", "eeeee", "ffffff"])
    with pytest.raises(KeyboardInterrupt):
        encode_contents(texts, Length(fails_at="eeeee"), tmp_path / "out", cache=tmp_path)
    with pytest.raises(Exception, match="can't be read"):
        Features.open(tmp_path / "out")
    encoder = Length()
    encode_contents(texts, encoder, tmp_path / "out", cache=tmp_path)
    assert encoder.seen == ["eeeee", "ffffff"]


def test_what_cannot_be_read_is_named_and_missing(tmp_path):
    """A broken picture among a million must not end a night of encoding."""
    found = encode_contents(
        contents(["a", "broken", "b", "broken", "c", "d"]), Length(), tmp_path / "out", cache=tmp_path
    )
    assert found.features.known.tolist() == [True, False, True, False, True, True]
    assert found.notes("plots") == (
        "2 items count as without plots, which couldn't be read: item 1: it is broken; item 3: it is broken.",
    )


def test_nothing_readable_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no text in text can be read: it is broken"):
        encode_contents(contents(["broken"] * 6), Length(), tmp_path / "out", cache=tmp_path)
    with pytest.raises(DataError, match="no text in text can be read; correct the columns"):
        encode_contents(contents([None] * 5 + [""]), Length(), tmp_path / "out", cache=tmp_path)


def test_progress_counts_items(tmp_path):
    told = []
    encode_contents(
        contents(["a", None, "b", "a", "c", "d"]),
        Length(),
        tmp_path / "out",
        cache=tmp_path,
        progress=lambda done, of: told.append((done, of)),
    )
    assert told == [(5, 5)]


@pytest.mark.parametrize(("stored", "dtype"), [("float32", "float32"), ("float16", "float16"), ("int8", "float16")])
def test_the_cache_is_by_encoder_and_precision(tmp_path, stored, dtype):
    found = encode_contents(
        contents(["aaa"] * 6), Length(LengthConfig(stored=stored)), tmp_path / "out", cache=tmp_path
    )
    assert found.features.vectors.dtype == dtype
    np.testing.assert_allclose(found.features.vectors[:, 0], 3.0, atol=0.02)
    (folder,) = (tmp_path / "vectors").iterdir()
    assert folder.name == f"{Length().fingerprint}-{stored}"


def test_vectors_of_another_length_are_refused(tmp_path):
    """A block of vectors of one number would be spread over all of an item's."""
    writer = FeatureWriter(tmp_path, 4, 3, "float32")
    writer.write(np.array([0, 1], np.int32), np.ones((2, 3), np.float32))
    for width in (1, 2):
        with pytest.raises(DataError, match=f"vectors of {width} numbers after some of 3"):
            writer.write(np.array([2, 3], np.int32), np.ones((2, width), np.float32))
