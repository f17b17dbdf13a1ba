"""Reading a store of soft labels, memory-mapped, batch by batch."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distilrec.errors import ArtefactError, SoftLabelError
from distilrec.soft_labels._encoding import decode
from distilrec.soft_labels._files import sha256
from distilrec.soft_labels._shards import Shards
from distilrec.soft_labels.batch import SoftBatch
from distilrec.soft_labels.manifest import Manifest, cure

__all__ = ["LEFT_OUT", "SoftLabels"]

LEFT_OUT = "left_out"

Arrays = dict[str, NDArray[Any]]


class SoftLabels:
    """A store of soft labels: one row per query, in ascending order of query ids.

    The arrays stay on disk, so a store may be larger than memory. Opened with `SoftLabels.open`, made by
    `record`.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self._shards = Shards(path, manifest)

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a store; ArtefactError says why if it is unfinished, damaged or of another version."""
        return cls(Path(path), Manifest.read(Path(path)))

    def __len__(self) -> int:
        return self.manifest.n_queries

    @property
    def temperature(self) -> float:
        """Divide scores by it to have logits: fitted on validation, or 1."""
        return self.manifest.temperature

    @cached_property
    def query_ids(self) -> NDArray[np.int64]:
        """(R,) int64, ascending."""
        return np.concatenate([self._shards.array(n, "query_ids") for n in range(self.manifest.n_shards)])

    @cached_property
    def query_keys(self) -> NDArray[np.uint64]:
        """(R,) uint64: what each row's query holds, as a number; KeyError for a store without keys."""
        return np.concatenate([self._shards.array(n, "query_keys") for n in range(self.manifest.n_shards)])

    def arrays(self, rows: NDArray[np.int64]) -> Arrays:
        """All columns of the rows (B,) as they are stored; zeros for rows of -1."""
        groups = self._shards.groups(rows)
        return {name: self._shards.gather(name, len(rows), groups) for name in self._shards.columns}

    def rows(self, query_ids: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """(B,) int64: the row of each query id (B,), -1 where it wasn't recorded."""
        known = self.query_ids
        places = np.minimum(np.searchsorted(known, query_ids), len(known) - 1)
        return np.where(known[places] == query_ids, places, -1)

    def batch(self, rows: NDArray[np.int64]) -> SoftBatch:
        """Read the rows (B,), in any order, with repetitions; -1 gives a row that is all masked.

        Raises ValueError on rows out of range, ArtefactError when a file isn't what the manifest says.
        """
        groups, recorded = self._shards.groups(rows), rows >= 0
        names = self._shards.columns.keys() - {"query_ids", "query_keys"}
        column = {name: self._shards.gather(name, len(rows), groups) for name in names}
        column["tail_probability"] = np.where(recorded, column.get("tail_probability", np.float32(1)), 1)
        items, scores, mask = self._candidates(column, recorded, "")
        tail_items, tail_scores, tail_mask = self._candidates(column, recorded, "tail_")
        return SoftBatch(
            recorded=torch.from_numpy(recorded),
            items=items,
            scores=scores,
            mask=mask,
            log_sum_exp=torch.from_numpy(column["log_sum_exp"]),
            temperatures=self.manifest.temperatures,
            tail_items=tail_items,
            tail_scores=tail_scores,
            tail_mask=tail_mask,
            tail_probability=torch.from_numpy(column["tail_probability"].astype(np.float32)),
            hidden=torch.from_numpy(column["hidden"].astype(np.float32)) if "hidden" in column else None,
            ranked=self.manifest.kind != "full",
        )

    def hidden(self, rows: NDArray[np.int64]) -> Tensor:
        """(B, D) float32: the teacher's hidden states of the rows (B,), without the lists; zeros for rows of -1.

        Raises SoftLabelError for a store without hidden states.
        """
        if self.manifest.width is None:
            raise SoftLabelError(f"{self.path}: holds no hidden states; record the teacher with `hidden: true`")
        states = self._shards.gather("hidden", len(rows), self._shards.groups(rows))
        return torch.from_numpy(states.astype(np.float32))

    def scores(self, rows: NDArray[np.int64], items: NDArray[np.integer[Any]]) -> Tensor:
        """(B, C) float32: the teacher's scores of any items (B, C), for recorded rows (B,).

        Kind `factored` scores seen items like others; `full` gives -inf to those that the recording left out.
        Raises SoftLabelError for kind `topk`, which doesn't hold them, ValueError on arguments that don't
        fit.
        """
        self._need(("factored", "full"), "the scores of any item")
        if items.ndim != 2 or len(items) != len(rows) or (rows < 0).any():
            raise ValueError(f"scores: expected items (B, C) for recorded rows (B,), given {items.shape} for {rows}")
        groups = self._shards.groups(rows)
        if self.manifest.kind == "factored":
            hidden = self._shards.gather("hidden", len(rows), groups).astype(np.float32)
            scores = np.einsum("bd,bcd->bc", hidden, self.item_vectors[items]) + self.item_bias[items]
            return torch.from_numpy(scores)
        names = self._shards.columns.keys() & {"score_max", "score_scale"}
        column = {name: self._shards.gather(name, len(rows), groups) for name in names}
        column["scores"] = np.empty(items.shape, self._shards.columns["scores"][0])
        for shard, places, within in groups:
            column["scores"][places] = self._shards.array(shard, "scores")[within[:, None], items[places]]
        return torch.from_numpy(self._decode(column, "scores"))

    @property
    def item_vectors(self) -> NDArray[np.float32]:
        """(N, D) float32, for kind `factored`: score = hidden @ item_vectors.T + item_bias."""
        self._need(("factored",), "item vectors")
        return self._shards.item_array("item_vectors")

    @cached_property
    def left_out(self) -> NDArray[np.bool_] | None:
        """(N,) bool: the items that no query was told of; None where there are none such."""
        path = self.path / f"{LEFT_OUT}.npy"
        if path.name not in self.manifest.checksums:
            return None
        try:
            found: NDArray[np.bool_] = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ArtefactError(f"{path}: damaged ({error}); delete {self.path} and record again") from error
        return found

    @property
    def item_features(self) -> NDArray[np.float32]:
        """(N, D) float32: `item_vectors`, for a student to become like them."""
        return self.item_vectors

    @property
    def item_bias(self) -> NDArray[np.float32]:
        """(N,) float32, for kind `factored`; zeros if the teacher has none."""
        self._need(("factored",), "item biases")
        return self._shards.item_array("item_bias")

    def verify(self) -> None:
        """Read every file and compare its checksum; ArtefactError names the first one that differs."""
        for name, expected in self.manifest.checksums.items():
            path = self.path / name
            if not path.is_file():
                raise ArtefactError(f"{path}: missing; {cure(self.path)}")
            if sha256(path) != expected:
                raise ArtefactError(f"{path}: damaged, its checksum differs; {cure(self.path)}")

    def summary(self) -> dict[str, Any]:
        """What the store is, for reports: the manifest without checksums, the number of shards, and bytes."""
        kept = self.manifest.model_dump(exclude={"checksums", "format_version"})
        size = sum((self.path / name).stat().st_size for name in self.manifest.checksums)
        return {**kept, "n_shards": self.manifest.n_shards, "bytes": size}

    def _candidates(self, column: Arrays, recorded: NDArray[np.bool_], prefix: str) -> tuple[Tensor, Tensor, Tensor]:
        """Items, scores and mask, (B, C) each, with 0 where masked."""
        if f"{prefix}scores" not in column:
            scores = np.empty((len(recorded), 0), np.float32)
        else:
            scores = self._decode(column, f"{prefix}scores")
        # Where items aren't stored, each has its own place.
        items = column.get(f"{prefix}items", np.arange(scores.shape[1])[None])
        mask = (items >= 0) & np.isfinite(scores) & recorded[:, None]
        items, scores = np.where(mask, items, 0), np.where(mask, scores, np.float32(0))
        return torch.from_numpy(items.astype(np.int64)), torch.from_numpy(scores), torch.from_numpy(mask)

    def _decode(self, column: Arrays, name: str) -> NDArray[np.float32]:
        if self.manifest.dtype == "float32":
            return column[name]
        return decode(column[name], column["score_max"], column["score_scale"])

    def _need(self, kinds: tuple[str, ...], what: str) -> None:
        if self.manifest.kind not in kinds:
            raise SoftLabelError(
                f"{self.path}: a store of kind {self.manifest.kind!r} doesn't hold {what}; "
                f"record the teacher with kind {' or '.join(map(repr, kinds))}"
            )
