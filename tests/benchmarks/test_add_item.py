"""The benchmark of new items: it adds what it says, and writes where it is told."""

import json

from benchmarks import add_item
from tests.encoders import tiny


def test_the_item_is_there_and_the_bundle_is_not_changed():
    bundle = add_item.bundle_of(50)
    times = add_item.milliseconds(bundle, rounds=2)
    assert len(times) == 2
    assert min(times) > 0
    assert bundle.items.height == 50


def test_it_writes_its_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(add_item, "FILMS", 40)
    monkeypatch.setattr(add_item, "MANY", 60)
    monkeypatch.setitem(add_item.WIDTHS, "text", 32)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model = tiny.bert(tmp_path / "bert")
    add_item.main(["--rounds", "1", "--text-model", model, "--out", str(tmp_path)])
    found = json.loads((tmp_path / "add_item.json").read_text(encoding="utf-8"))
    assert set(found["detail"]["milliseconds"]) == {"40", "60", "by text", "encoding alone"}
    figures = found["figures"]
    assert figures["milliseconds_by_text"] > figures["milliseconds_of_encoding"] > 0
