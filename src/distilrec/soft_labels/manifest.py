"""What a store of soft labels holds, and how its files are laid out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from distilrec.errors import ArtefactError
from distilrec.soft_labels._files import Column

__all__ = ["FORMAT_VERSION", "MANIFEST", "RECORDING", "DType", "Kind", "Layout", "Manifest", "cure", "shard_name"]

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
RECORDING = "recording.json"

Kind: TypeAlias = Literal["topk", "factored", "full"]
DType: TypeAlias = Literal["float16", "float32"]
# Checked, so that a manifest from elsewhere can't point out of its folder.
_FileName = Annotated[str, StringConstraints(pattern=r"^(shard-[0-9]{5,}/)?[a-z_]+\.npy$")]
_Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


def shard_name(shard: int) -> str:
    """The folder of a shard.

    >>> shard_name(3)
    'shard-00003'
    """
    return f"shard-{shard:05d}"


def cure(store: Path) -> str:
    """What to do about a damaged store: of a run's, the whole stage has to go, or the run takes it for done."""
    stage = (store.parent / "stage.json").is_file()
    return f"copy it again, or delete {store.parent if stage else store} and record again"


class Layout(BaseModel):
    """Which arrays there are, and of which shape.

    kind: `topk` holds the best items of each query; `factored` beside them the factors that give the
    teacher's score of any item; `full` the score of each item, in the order of items. n_items: N. k: listed
    items per query, N for `full`. tail: S, sampled other items per query. dtype: of scores and hidden states.
    width: D of the hidden states, None where there are none. temperatures: those at which the log-sum-exp is
    known. keys: whether there is a key per query, by which a later recording takes rows over.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    n_items: int = Field(ge=1)
    k: int = Field(ge=1)
    tail: int = Field(ge=0)
    dtype: DType
    width: int | None = Field(ge=1)
    temperatures: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...]
    keys: bool = False

    def columns(self) -> dict[str, Column]:
        """The arrays of each shard: name -> dtype and shape of a row."""
        score, ids, real = np.dtype(self.dtype), np.dtype(np.int32), np.dtype(np.float32)
        columns: dict[str, Column] = {"query_ids": (np.dtype(np.int64), ())}
        if self.keys:
            columns["query_keys"] = (np.dtype(np.uint64), ())
        if self.kind != "full":
            columns["items"] = (ids, (self.k,))
        columns["scores"] = (score, (self.k,))
        if self.dtype == "float16":
            columns |= {"score_max": (real, ()), "score_scale": (real, ())}
        columns["log_sum_exp"] = (real, (len(self.temperatures),))
        if self.tail > 0:
            columns |= {
                "tail_items": (ids, (self.tail,)),
                "tail_scores": (score, (self.tail,)),
                "tail_probability": (real, ()),
            }
        if self.width is not None:
            columns["hidden"] = (score, (self.width,))
        return columns

    def item_columns(self) -> dict[str, Column]:
        """The arrays with one row per item: for `factored` the item factors."""
        if self.kind != "factored" or self.width is None:
            return {}
        real = np.dtype(np.float32)
        return {"item_vectors": (real, (self.width,)), "item_bias": (real, ())}


class Manifest(Layout):
    """The content of manifest.json, which is written when everything else is there.

    teacher_fingerprint, data_fingerprint: who was recorded, and on which training data. n_queries: R, rows in
    all.
    shard_rows: rows per shard, but for the last. scores_are_logits: whether softmax(score) was meant as a
    probability.
    temperature: divide scores by it to have logits; fitted on validation if `temperature_fitted`, else 1.
    filter_seen: whether the items that a query has seen were left out. checksums: file -> SHA-256.
    created_by: versions.
    """

    format_version: Literal[1] = 1
    teacher_fingerprint: str
    data_fingerprint: str
    n_queries: int = Field(ge=1)
    shard_rows: int = Field(ge=1)
    scores_are_logits: bool
    temperature: float = Field(gt=0, allow_inf_nan=False)
    temperature_fitted: bool
    filter_seen: bool
    checksums: dict[_FileName, _Hex]
    created_by: dict[str, str]

    @property
    def n_shards(self) -> int:
        """How many shards hold the rows."""
        return -(-self.n_queries // self.shard_rows)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read and check a store's manifest; ArtefactError says what is wrong with it."""
        path = folder / MANIFEST
        if not path.is_file():
            if (folder / RECORDING).is_file():
                raise ArtefactError(f"{folder}: the recording isn't finished; repeat it to go on where it stopped")
            raise ArtefactError(
                f"{folder}: not a store of soft labels, it holds no {MANIFEST}; name another folder, or where it was "
                f"one, {cure(folder)}"
            )
        try:
            content: Any = json.loads(path.read_text(encoding="utf-8"))
            version = content.get("format_version")
        except (ValueError, AttributeError) as error:
            raise ArtefactError(f"{path}: damaged, not a JSON object; {cure(folder)}") from error
        if version != FORMAT_VERSION:
            raise ArtefactError(
                f"{path}: format version {version}, but this version of distilrec reads {FORMAT_VERSION}; "
                f"install a version that reads it, or delete {folder} and record again"
            )
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"]))
            raise ArtefactError(f"{path}: damaged at {field!r}: {first['msg']}; {cure(folder)}") from error
