"""A trained student as a bundle: weights, graphs, ids, titles, and how new items are read."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from safetensors.numpy import save_file

import distilrec
from distilrec.bundle import ItemContent
from distilrec.data import Prepared, categories_of
from distilrec.encoders import TextEncoder, save_encoder
from distilrec.errors import ModelError
from distilrec.export.graphs import write_query_graph, write_tower_graph
from distilrec.models import DotProductModel, Model, SequenceModel, load_model, save_model
from distilrec.ranking import rank
from distilrec.runtime import Lineage, Manifest, StudentInfo
from distilrec.runtime.folders import replacing
from distilrec.runtime.manifest import CARD, CONTENT, MANIFEST, QUERY, TOWER, write_manifest
from distilrec.runtime.served import HELD_OUT, HISTORIES, Attributes, write_ids
from distilrec.scoring import Queries, Ragged
from distilrec.weights import Precision

__all__ = ["BundleIds", "ids_of", "write_bundle"]

HELD_OUT_QUERIES, K = 1_000, 10
_logger = logging.getLogger(__name__)
VALUES = 1_000  # of an attribute


@dataclass(frozen=True, eq=False)
class BundleIds:
    """The items' ids, titles and attributes, the users' ids, and the places of the items that each took, in order."""

    items: Sequence[Any]
    titles: Sequence[str]
    users: Sequence[Any]
    histories: Ragged
    attributes: Attributes = field(default_factory=dict)


def write_bundle(
    model: Model,
    ids: BundleIds,
    held_out: tuple[Queries, Ragged],
    folder: Path,
    *,
    content: Mapping[str, ItemContent] | None = None,
    precision: Precision = "float32",
    lineage: Lineage | None = None,
    card: str = "",
) -> None:
    """Write a student into a folder, which is replaced at once.

    ids: of items and users; `ids_of` makes them. held_out: queries and targets, at most 1,000 of which go
    along, with the student's answers, so that exports and servers can be compared with it. content: of the modalities
    that the model knows items by, so that it takes new items. lineage: where it comes from. card: what README.md says.
    Raises ModelError where the model isn't one of vectors, ArtefactError where the folder holds something else.
    """
    if not isinstance(model, DotProductModel):
        raise ModelError(f"a {type(model).__name__} isn't a student of item vectors, so it can't be bundled")
    with replacing(folder, MANIFEST) as new:
        save_model(model, new, precision)
        served = load_model(new)  # its numbers rounded as they lie there
        assert isinstance(served, DotProductModel)
        write_ids(new, ids.items, ids.titles, ids.users, ids.attributes)
        save_file(_flat("histories", ids.histories), new / HISTORIES)
        save_file(_asked(served, *held_out), new / HELD_OUT)
        for name, each in (content or {}).items():
            (new / CONTENT / name).mkdir(parents=True)
            save_encoder(each.encoder, new / CONTENT / name)
            if isinstance(each.encoder, TextEncoder):
                _leave_reader(each.encoder, new / CONTENT / name)
        if card:
            (new / CARD).write_text(card, encoding="utf-8")
        manifest = Manifest(
            distilrec=distilrec.__version__,
            student=_graphs(served, new, precision),
            items=len(ids.items),
            users=len(ids.users),
            content={name: each.modality.model_dump(mode="json") for name, each in (content or {}).items()},
            lineage=lineage or Lineage(),
        )
        write_manifest(manifest, new)


def _leave_reader(encoder: TextEncoder, folder: Path) -> None:
    """So that a server can be searched in words, where the encoder can be made a graph."""
    try:
        encoder.leave_reader(folder)
    except ModelError as error:
        _logger.warning("without transformers this bundle can't be searched in words: %s", error)


def ids_of(prepared: Prepared) -> BundleIds:
    """Those of a data set, with all that each user took: test items are history now."""
    dataset = prepared.dataset
    titles = dataset.titles(np.arange(len(dataset.item_ids)))
    items, users = dataset.item_ids.values.to_list(), dataset.user_ids.values.to_list()
    return BundleIds(items, titles, users, prepared.split.log.histories, _attributes(dataset.items))


def _attributes(items: pl.DataFrame | None) -> dict[str, list[list[str]]]:
    """Columns of few distinct texts, or lists of them; "a|b" is two. What is written on an item isn't one."""
    found = {}
    for values in () if items is None else items.get_columns():
        name = values.name
        if name in ("item", "title") or values.dtype not in (pl.String, pl.List(pl.String)):
            continue
        lists = categories_of(values)
        if len({value for row in lists for value in row}) <= VALUES:
            found[name] = lists
    return found


def _asked(model: DotProductModel, queries: Queries, targets: Ragged) -> dict[str, NDArray[Any]]:
    """Evenly spaced queries of those that have targets, and what the model answers."""
    asked = np.flatnonzero(targets.lengths > 0)
    asked = asked[:: -(-len(asked) // HELD_OUT_QUERIES) or 1]
    queries, targets = Queries(queries.users, queries.histories)[asked], targets[asked]  # as a server is asked
    lists, _ = rank(model, queries, K)
    answers = Ragged.from_lengths((lists >= 0).sum(1), lists[lists >= 0])
    arrays = {"users": queries.users.astype(np.int32)}
    for name, rows in (("histories", queries.histories), ("targets", targets), ("expected", answers)):
        arrays |= _flat(name, rows)
    return arrays


def _flat(name: str, rows: Ragged) -> dict[str, NDArray[Any]]:
    """Lists of items as two arrays."""
    return {name: rows.flat()[1].astype(np.int32), f"{name}_lengths": rows.lengths.astype(np.int64)}


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
