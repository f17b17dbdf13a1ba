"""Cached vectors: found again, in every precision, by another process, and never half there."""

import numpy as np
import pytest

from distilrec.encoders.cache import VectorCache, content_keys
from distilrec.errors import ArtefactError
from distilrec.rng import generator

VECTORS = generator(0, "vectors").normal(size=(6, 5)).astype(np.float32)
KEYS = content_keys(["f", "a", "c", "b", "e", "d"])


@pytest.mark.parametrize(("precision", "error"), [("float32", 0.0), ("float16", 2e-3), ("int8", 0.02)])
def test_vectors_come_back_in_the_order_asked_for(tmp_path, precision, error):
    cache = VectorCache(tmp_path, precision)
    assert cache.holds(KEYS).tolist() == [False] * 6
    cache.add(KEYS[:2], VECTORS[:2])
    cache.add(KEYS[2:], VECTORS[2:])
    order = np.array([5, 0, 3, 3, 1])
    for each in (cache, VectorCache(tmp_path, precision)):
        assert len(each) == 6
        assert each.width == 5
        np.testing.assert_allclose(each.vectors(KEYS[order]), VECTORS[order], atol=error)


def test_what_is_held_is_told_from_what_is_not(tmp_path):
    cache = VectorCache(tmp_path, "float32")
    cache.add(KEYS[1:3], VECTORS[1:3])
    assert cache.holds(KEYS).tolist() == [False, True, True, False, False, False]


def test_a_damaged_shard_is_named(tmp_path):
    VectorCache(tmp_path, "float32").add(KEYS, VECTORS)
    (shard,) = tmp_path.glob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-8])
    with pytest.raises(ArtefactError, match=f"{shard.name} is damaged"):
        VectorCache(tmp_path, "float32")


def test_a_shard_that_was_being_written_is_not_there(tmp_path):
    """Else an encoding that was killed would leave a shard that no run can read."""
    (tmp_path / "000000-x.77.partial").write_bytes(b"half")
    assert len(VectorCache(tmp_path, "float32")) == 0


def test_keys_tell_contents_apart():
    values = ["a", "b", b"a!", {"x": 1, "y": None}, {"y": None, "x": 1}, np.array([1.0, 2.0], np.float32), ""]
    keys = content_keys(values)
    assert keys[3] == keys[4]
    assert len(set(keys.tolist())) == len(values) - 1
