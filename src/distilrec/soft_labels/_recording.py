"""The steps of a recording: look at the teacher, make room, write the arrays."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distilrec.errors import SoftLabelError
from distilrec.ranking import queries_at_once
from distilrec.rng import generator
from distilrec.scoring import DotProduct, HiddenStates, Queries, Recommender
from distilrec.soft_labels import checks
from distilrec.soft_labels._encoding import encode_block
from distilrec.soft_labels._files import NpyWriter, publish, sha256
from distilrec.soft_labels._keys import query_keys
from distilrec.soft_labels._scoring import answer, answer_with_states, blocks, factors, mask_seen
from distilrec.soft_labels.config import RecordConfig, forecast
from distilrec.soft_labels.manifest import Layout, shard_name
from distilrec.soft_labels.table import LEFT_OUT, SoftLabels

__all__ = ["Progress", "Recording"]

Progress = Callable[[int, int], None]
_AUDITION = 256  # queries that are looked at before the first shard


@dataclass(frozen=True)
class Recording:
    """One recording on its way to disk.

    since: the store whose rows are taken over where the query is the same. left_out: (N,) bool, items that aren't told
    of.
    """

    teacher: Recommender
    queries: Queries
    query_ids: NDArray[np.int64]
    path: Path
    config: RecordConfig
    seed: int
    since: SoftLabels | None = None
    left_out: NDArray[np.bool_] | None = None

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """The place of each row's query."""
        return np.argsort(self.query_ids, kind="stable")

    @cached_property
    def keys(self) -> NDArray[np.uint64]:
        """(R,): what each query holds, as a number."""
        return query_keys(self.queries)

    @cached_property
    def known(self) -> NDArray[np.int64]:
        """(R,): the row of `since` that holds each query's labels, -1 where the teacher has to be asked."""
        if self.since is None:
            return np.full(len(self.queries), -1)
        there = self.since.query_keys
        order = np.argsort(there, kind="stable")
        places = order[np.minimum(np.searchsorted(there[order], self.keys), len(there) - 1)]
        return np.where(there[places] == self.keys, places, -1)

    @property
    def width(self) -> int | None:
        """D of the teacher's hidden states, None if it has none."""
        return self.teacher.width if isinstance(self.teacher, HiddenStates) else None

    @cached_property
    def _factors(self) -> tuple[Tensor, Tensor] | None:
        return factors(self.teacher) if isinstance(self.teacher, DotProduct) else None

    @cached_property
    def _place(self) -> Tensor | None:
        """Where the scores of each block are put, of a teacher whose scores are dot products."""
        if self._factors is None:
            return None
        vectors, _ = self._factors
        n_items = self.teacher.n_items
        return vectors.new_empty((queries_at_once(n_items), n_items))

    def audition(self) -> None:
        """Look at queries from all over before hours are spent on a teacher that is unfit."""
        layout = self.config.layout(self.teacher.n_items, self.width)
        size = next(blocks(0, min(_AUDITION, len(self.queries)), self.teacher.n_items)).stop
        chosen = self.queries[np.linspace(0, len(self.queries) - 1, size).round().astype(np.int64)]
        checks.check_spread(answer(self.teacher, chosen))
        if layout.kind == "factored" or (layout.width is not None and isinstance(self.teacher, DotProduct)):
            checks.check_factors(self.teacher, chosen)

    def prepare_folder(self) -> None:
        """Make the folder, remove what an interruption left half written, and see that the rest will fit."""
        self.path.mkdir(parents=True, exist_ok=True)
        for partial in self.path.glob(".*.tmp"):
            if partial.is_dir():
                shutil.rmtree(partial)
            else:
                partial.unlink()
        there = sum(file.stat().st_size for file in self.path.rglob("*.npy"))
        needed = forecast(self.config, len(self.queries), self.teacher.n_items, self.width) - there
        free = shutil.disk_usage(self.path).free
        if needed > free:
            raise SoftLabelError(
                f"record: {self.path} needs {needed / 1e9:.2f} GB more, but its disk has {free / 1e9:.2f} GB "
                "free; take another disk, or lower `k` and `tail`"
            )

    def write_items(self, layout: Layout) -> None:
        """Write the arrays with one row per item, where there are any."""
        if self.left_out is not None and not (self.path / f"{LEFT_OUT}.npy").is_file():
            partial = self.path / ".left-out.tmp"
            partial.mkdir()
            with NpyWriter(partial, {LEFT_OUT: (np.dtype(np.bool_), ())}, len(self.left_out)) as writer:
                writer.append({LEFT_OUT: self.left_out})
            publish(partial / f"{LEFT_OUT}.npy", self.path / f"{LEFT_OUT}.npy")
            partial.rmdir()
        columns = layout.item_columns()
        if not columns or all((self.path / f"{name}.npy").is_file() for name in columns):
            return
        assert self._factors is not None
        vectors, bias = self._factors
        partial = self.path / ".items.tmp"
        partial.mkdir()
        with NpyWriter(partial, columns, layout.n_items) as writer:
            writer.append({"item_vectors": vectors.detach().cpu().numpy(), "item_bias": bias.detach().cpu().numpy()})
        for name in columns:
            publish(partial / f"{name}.npy", self.path / f"{name}.npy")
        partial.rmdir()

    def write_shards(self, layout: Layout, progress: Progress | None) -> None:
        """Write the shards that aren't there yet."""
        n_rows = len(self.queries)
        for shard, start in enumerate(range(0, n_rows, self.config.shard_rows)):
            stop = min(start + self.config.shard_rows, n_rows)
            if not (self.path / shard_name(shard)).is_dir():
                self._write_shard(layout, shard, start, stop, progress)
            elif progress is not None:
                progress(stop, n_rows)

    def _write_shard(self, layout: Layout, shard: int, start: int, stop: int, progress: Progress | None) -> None:
        # Seeded by shard and not by recording, so that a resumed one draws the same tails.
        rng = generator(self.seed, "tail", shard)
        partial = self.path / f".{shard_name(shard)}.tmp"
        partial.mkdir()
        with NpyWriter(partial, layout.columns(), stop - start) as writer:
            for part in blocks(start, stop, layout.n_items):
                places = self.order[part]
                columns = self._columns(places, layout, rng)
                writer.append({**columns, "query_ids": self.query_ids[places], "query_keys": self.keys[places]})
                if progress is not None:
                    progress(part.stop, len(self.queries))
        publish(partial, self.path / shard_name(shard))

    def _columns(self, places: NDArray[np.int64], layout: Layout, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        """The rows of some queries: taken over where they are known, asked of the teacher else."""
        rows = self.known[places]
        asked = rows < 0
        if self.since is None or asked.all():
            return self._encode(self.queries[places], layout, rng)
        columns = self.since.arrays(rows)
        if asked.any():
            for name, fresh in self._encode(self.queries[places[asked]], layout, rng).items():
                columns[name][asked] = fresh
        return columns

    def _encode(self, queries: Queries, layout: Layout, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        states = None
        if layout.width is None and self._factors is None:
            scores = answer(self.teacher, queries)
        else:
            assert isinstance(self.teacher, HiddenStates)
            scores, found = answer_with_states(self.teacher, queries, self._factors, self._place)
            states = None if layout.width is None else found
        if self.config.filter_seen:
            scores = mask_seen(scores, queries)
        with torch.inference_mode():
            if self.left_out is not None:
                scores[:, torch.from_numpy(self.left_out).to(scores.device)] = -torch.inf
            return encode_block(scores, states, layout, rng)

    def checksums(self) -> dict[str, str]:
        """The SHA-256 of each array, by its path within the folder."""
        files = sorted(self.path.rglob("*.npy"))
        return {file.relative_to(self.path).as_posix(): sha256(file) for file in files}
