"""The log that is measured holds what it is said to hold."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from benchmarks import scale


def test_the_log_is_whole_and_in_order_for_each_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user cut in two by the parts that are written would have too short a history."""
    monkeypatch.setattr(scale, "ROWS", 700)
    scale.write_log(tmp_path / "log.parquet", 3_000, 50, n_items=100)
    log = pl.read_parquet(tmp_path / "log.parquet")
    assert len(log) == 3_000
    assert log["user"].n_unique() <= 50
    assert log["user"].rle().struct.field("value").is_unique().all()
    assert (log.group_by("user", maintain_order=True).agg(pl.col("time").diff().drop_nulls().min())["time"] > 0).all()


def test_a_small_log_goes_through_all_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "THREADS", 1)
    scale.write_log(tmp_path / "log.parquet", 2_000, 40, n_items=300)
    detail = scale.measure(tmp_path / "log.parquet", tmp_path)
    assert detail["recorded"] >= detail["tested"] > 30
    assert list(detail["seconds"]) == ["load", "train one epoch", "record top 100", "evaluate"]
