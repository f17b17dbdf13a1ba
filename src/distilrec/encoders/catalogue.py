"""A catalogue's content to vectors: block by block, from the cache where they are there already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilrec.data import Contents, Features, FeatureWriter, data_homes
from distilrec.encoders.base import Encoder
from distilrec.encoders.cache import VectorCache, content_keys
from distilrec.errors import DataError

__all__ = ["Encoding", "cache_home", "encode_contents"]

ROWS, MEDIA_ROWS = 1024, 64  # items in a block; decoded images and sounds are large
SHOWN = 3  # items that are named where their content can't be read


@dataclass
class Encoding:
    """What an encoding did.

    encoded: contents that weren't in the cache. faults: why content couldn't be read, by item id. lost: as Contents'.
    """

    features: Features
    encoded: int
    faults: dict[Any, str] = field(default_factory=dict)
    lost: tuple[int, str] | None = None

    def notes(self, name: str) -> tuple[str, ...]:
        """A sentence where content couldn't be read, and one where files weren't found; name: of the modality."""
        notes = []
        if self.faults:
            some = "; ".join(f"item {item}: {why}" for item, why in list(self.faults.items())[:SHOWN])
            notes.append(f"{len(self.faults):,} items count as without {name}, which couldn't be read: {some}.")
        if self.lost is not None:
            number, path = self.lost
            notes.append(f"{number:,} file names of {name} lead to no file, such as {path}; these count as without.")
        return tuple(notes)


def cache_home() -> Path:
    """Where vectors and converted encoders are kept between runs: beside the named data sets."""
    return data_homes()[-1] / "encoders"


def encode_contents(
    contents: Contents,
    encoder: Encoder,
    folder: Path,
    *,
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Encoding:
    """Encode one modality of a catalogue into `folder`, and open the result.

    Content that can't be read counts as missing, and is named. The vectors are float32 where the encoder stores such,
    else float16. cache: the folder of cached vectors; None takes `cache_home()`. progress: called with items done and
    of how many. Memory holds one block of content at a time, and an index of the items, some hundred bytes for each.
    Raises DataError where no content at all can be read.
    """
    precision = encoder.config.stored
    store = VectorCache((cache or cache_home()) / "vectors" / f"{encoder.fingerprint}-{precision}", precision)
    of, done, encoded = int(contents.known.sum()), 0, 0
    writer: FeatureWriter | None = None
    faults: dict[Any, str] = {}
    for places, values in contents.blocks(MEDIA_ROWS if contents.modality.kind in ("image", "audio") else ROWS):
        keys = content_keys(values)
        fresh, broken = _encode_missing(store, encoder, keys, values)
        encoded += fresh
        whole = np.array([place not in broken for place in range(len(values))], np.bool_)
        names = contents.item_ids.decode(places[~whole]).to_list()
        faults |= dict(zip(names, (broken[int(n)] for n in np.flatnonzero(~whole)), strict=True))
        if whole.any():
            vectors = store.vectors(keys[whole])
            if writer is None:
                dtype = "float32" if precision == "float32" else "float16"
                writer = FeatureWriter(folder, len(contents.known), vectors.shape[1], dtype)
            writer.write(places[whole], vectors)
        done += len(values)
        if progress is not None:
            progress(done, of)
    if writer is None:
        why = f": {next(iter(faults.values()))}" if faults else ""
        if contents.lost is not None:
            why = f": there is no file {contents.lost[1]}"
        raise DataError(
            f"{contents.table.name}: no {contents.modality.kind} in {', '.join(contents.modality.columns)} can be read"
            f"{why}; correct the columns, or leave the modality out"
        )
    return Encoding(writer.finish(), encoded, faults, contents.lost)


def _encode_missing(
    store: VectorCache, encoder: Encoder, keys: NDArray[np.uint64], values: Sequence[Any]
) -> tuple[int, dict[int, str]]:
    """Encode what the cache lacks of a block; how many contents that were, and which couldn't be read, and why."""
    missing = np.flatnonzero(~store.holds(keys))
    first = missing[np.sort(np.unique(keys[missing], return_index=True)[1])]
    prepared, unread = encoder.prepare_each([values[place] for place in first])
    broken = {int(same): why for n, why in unread.items() for same in np.flatnonzero(keys == keys[first[n]])}
    if prepared:
        store.add(keys[first[list(prepared)]], encoder.encode(list(prepared.values())))
    return len(prepared), broken
