"""A trained student as a bundle: weights, graphs, ids, titles, and how new items are read."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

import distilrec
from distilrec.bundle import ItemContent, Lineage, Manifest, StudentInfo
from distilrec.bundle.bundle import CARD, CONTENT, HELD_OUT, ITEMS, LISTS, USERS
from distilrec.bundle.manifest import write_manifest
from distilrec.data import Prepared
from distilrec.encoders import save_encoder
from distilrec.errors import ModelError
from distilrec.export.graphs import write_query_graph, write_tower_graph
from distilrec.models import DotProductModel, Model, SequenceModel, load_model, save_model
from distilrec.ranking import rank
from distilrec.runtime.student import QUERY, TOWER
from distilrec.scoring import Queries, Ragged
from distilrec.weights import Precision

__all__ = ["ids_of", "write_bundle"]

HELD_OUT_QUERIES, K = 1_000, 10


def write_bundle(
    model: Model,
    items: pl.DataFrame,
    users: pl.DataFrame,
    held_out: tuple[Queries, Ragged],
    folder: Path,
    *,
    content: Mapping[str, ItemContent] | None = None,
    precision: Precision = "float32",
    lineage: Lineage | None = None,
    card: str = "",
) -> None:
    """Write a student into a folder, which is replaced at once.

    items, users: as a `Bundle` has them; `ids_of` makes them. held_out: queries and targets, at most 1,000 of which go
    along, with the student's answers, so that exports and servers can be compared with it. content: of the modalities
    that the model knows items by, so that it takes new items. lineage: where it comes from. card: what README.md says.
    Raises ModelError where the model isn't one of vectors.
    """
    if not isinstance(model, DotProductModel):
        raise ModelError(f"a {type(model).__name__} isn't a student of item vectors, so it can't be bundled")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as own:
        new = Path(own) / "new"
        save_model(model, new, precision)
        served = load_model(new)  # its numbers rounded as they lie there
        assert isinstance(served, DotProductModel)
        items.write_parquet(new / ITEMS)
        users.write_parquet(new / USERS)
        for name, each in (content or {}).items():
            (new / CONTENT / name).mkdir(parents=True)
            save_encoder(each.encoder, new / CONTENT / name)
        _asked(served, *held_out).write_parquet(new / HELD_OUT)
        if card:
            (new / CARD).write_text(card, encoding="utf-8")
        manifest = Manifest(
            distilrec=distilrec.__version__,
            student=_graphs(served, new, precision),
            items=len(items),
            users=len(users),
            content={name: each.modality for name, each in (content or {}).items()},
            lineage=lineage or Lineage(),
        )
        write_manifest(manifest, new)
        if folder.exists():
            os.replace(folder, Path(own) / "old")
        os.replace(new, folder)


def ids_of(prepared: Prepared) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The items and the users of a bundle, with all that each user took: test items are history now."""
    dataset = prepared.dataset
    titles = dataset.titles(np.arange(len(dataset.item_ids)))
    items = pl.DataFrame({"item": dataset.item_ids.values, "title": titles})
    rows = pl.DataFrame(dict(zip(("row", "item"), prepared.split.log.histories.flat(), strict=True)))
    taken = rows.group_by("row", maintain_order=True).agg(pl.col("item").alias("history"))
    users = pl.DataFrame({"user": dataset.user_ids.values}).with_row_index("row").cast({"row": pl.Int64})
    users = users.join(taken, on="row", how="left", maintain_order="left").drop("row")
    return items, users.with_columns(pl.col("history").fill_null([]))


def _asked(model: DotProductModel, queries: Queries, targets: Ragged) -> pl.DataFrame:
    """Evenly spaced queries of those that have targets, and what the model answers."""
    asked = np.flatnonzero(targets.lengths > 0)
    asked = asked[:: -(-len(asked) // HELD_OUT_QUERIES) or 1]
    queries, targets = queries[asked], targets[asked]
    lists, _ = rank(model, queries, K)
    answers = Ragged.from_lengths((lists >= 0).sum(1), lists[lists >= 0])
    rows = {"history": queries.histories, "targets": targets, "expected": answers}
    columns = [
        pl.Series(name, [each.values[a:b].tolist() for a, b in zip(each.starts, each.stops, strict=True)], LISTS)
        for name, each in rows.items()
    ]
    return pl.DataFrame([pl.Series("user", queries.users.astype(np.int32)), *columns])


def _graphs(model: DotProductModel, folder: Path, precision: Precision) -> StudentInfo:
    length, content = None, {}
    if isinstance(model, SequenceModel):
        length = model.history_length
        write_query_graph(model, folder / QUERY)
        if model.tower is not None:
            write_tower_graph(model.tower, folder / TOWER)
            widths = model.tower.config.widths or {}
            content = {name: widths[name] for name in model.tower.config.modalities}
    kind = type(model).__name__
    return StudentInfo(model=kind, width=model.width, history_length=length, precision=precision, content=content)
