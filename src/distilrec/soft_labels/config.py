"""What to record, and how large it will be."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from distilrec.errors import SoftLabelError
from distilrec.soft_labels._files import Columns
from distilrec.soft_labels.manifest import DType, Kind, Layout

__all__ = ["RecordConfig", "forecast"]

_NPY_HEADER = 128


class RecordConfig(BaseModel):
    """What to record of each query.

    kind: `topk`, `factored` (beside the lists the factors that give the score of any item) or `full` (the
    score of every item, for small catalogues). k: listed items; 100 serve as well as the full distribution.
    tail: sampled other items, as many bytes each as listed ones. dtype: of scores and hidden states; float16
    scores are relative to the best of their row. hidden: store hidden states; `factored` always does.
    shard_rows: queries per shard, the most that an interruption costs. temperatures: multiples of the fitted
    temperature at which the log-sum-exp is kept. filter_seen: leave out what a query has seen.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind = "topk"
    k: int = Field(100, ge=1)
    tail: int = Field(100, ge=0)
    dtype: DType = "float16"
    hidden: bool = False
    shard_rows: int = Field(131_072, ge=1)
    temperatures: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = (0.5, 1.0, 2.0, 4.0, 8.0)
    filter_seen: bool = True

    def layout(self, n_items: int, width: int | None, temperature: float = 1.0) -> Layout:
        """The arrays for N items and a teacher with hidden states of width D, or None if it has none.

        Raises SoftLabelError when hidden states are asked for and there are none.
        """
        k = n_items if self.kind == "full" else min(self.k, n_items)
        wanted = self.hidden or self.kind == "factored"
        if wanted and width is None:
            raise SoftLabelError(
                "record: `hidden` or kind 'factored' asks for hidden states, but the teacher has none; "
                "record it without them"
            )
        return Layout(
            kind=self.kind,
            n_items=n_items,
            k=k,
            tail=min(self.tail, n_items - k),
            dtype=self.dtype,
            width=width if wanted else None,
            temperatures=tuple(temperature * multiple for multiple in self.temperatures),
            keys=True,
        )


def forecast(config: RecordConfig, n_queries: int, n_items: int, width: int | None) -> int:
    """Bytes of all arrays of a recording, exactly; the manifest adds about a thousand per shard.

    width: D of the teacher's hidden states, None if it has none.

    >>> forecast(RecordConfig(), n_queries=1_000_000, n_items=50_000, width=None)
    1248010240
    """
    layout = config.layout(n_items, width)
    shards = -(-n_queries // config.shard_rows)
    headers = shards * len(layout.columns()) + len(layout.item_columns())
    rows = n_queries * _row_bytes(layout.columns()) + n_items * _row_bytes(layout.item_columns())
    return rows + headers * _NPY_HEADER


def _row_bytes(columns: Columns) -> int:
    return sum(dtype.itemsize * int(np.prod(shape)) for dtype, shape in columns.values())
