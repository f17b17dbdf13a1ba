"""What models that read histories share: windows, and one pass for all prefixes of a history."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from distilrec.data import Batch, Batches, Interactions, SequenceBatches
from distilrec.models.base import DotProductModel, Supervision, VectorConfig
from distilrec.scoring import Queries, Ragged

__all__ = ["SequenceConfig", "SequenceModel"]

PLACES_PER_PASS = 25_600


class SequenceConfig(VectorConfig):
    """Settings of models that read histories.

    history_length: L, how many of the last items are read. dropout: share of each vector's values that is
    dropped in training. init_std: standard deviation of the first item vectors.
    """

    history_length: int = Field(default=50, ge=1)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    init_std: float = Field(default=0.02, gt=0)


class SequenceModel(DotProductModel):
    """A causal model: the state at a place depends on the items up to it, and on how far back each one lies.

    Positions are relative, so a history's prefixes are all read in one pass, and padding goes to the right,
    where no state sees it.
    """

    def __init__(self, config: SequenceConfig, n_users: int, n_items: int) -> None:
        super().__init__(config, n_users, n_items)
        self.history_length = config.history_length
        self.items = nn.Parameter(torch.randn(n_items, config.embedding_size) * config.init_std)

    @abstractmethod
    def states(self, histories: Tensor) -> Tensor:
        """(b, L, D) states of histories (b, L) int64, padded on the right with -1."""

    def batches(
        self,
        train: Interactions,
        supervision: Supervision,
        batch_size: int,
        disliked: Interactions | None = None,
    ) -> Batches:
        """Windows of histories."""
        half_life = supervision.recency_half_life
        return SequenceBatches(train, self.history_length, batch_size, half_life, disliked)

    def encode(self, batch: Batch) -> Tensor:
        """(P, D)."""
        assert batch.histories is not None  # SequenceBatches always gives them
        return self.states(self.tensor(batch.histories)).flatten(0, 1)[self.tensor(batch.places)]

    def item_vectors(self) -> Tensor:
        """(N, D) float32."""
        return self.items

    def embed(self, histories: Tensor) -> Tensor:
        """(b, L, D): the vectors of the items; of padding, those of item 0, which nothing reads."""
        return nn.functional.embedding(histories.clamp(min=0), self.items)

    def hidden(self, queries: Queries) -> Tensor:
        """(B, D) float32; zeros for an empty history. Queries whose histories share a start share a pass."""
        histories = queries.histories
        starts = np.maximum(histories.starts, histories.stops - self.history_length)
        hidden = torch.zeros(len(queries), self.width, device=self.items.device)
        asked = np.flatnonzero(histories.lengths > 0)
        asked = asked[np.lexsort((histories.stops[asked], starts[asked]))]
        if len(asked) == 0:
            return hidden
        last_of_start = np.append(np.diff(starts[asked]) != 0, True)
        passes = asked[last_of_start]
        read = Ragged(starts[passes], histories.stops[passes], histories.values)
        owner = np.cumsum(last_of_start) - last_of_start
        place = histories.stops[asked] - starts[asked] - 1
        per_pass = max(1, PLACES_PER_PASS // int(read.lengths.max()))
        for begin in range(0, len(passes), per_pass):
            states = self.states(self._left_aligned(read[begin : begin + per_pass]))
            chosen = slice(*np.searchsorted(owner, [begin, begin + per_pass]))
            rows = self.tensor(owner[chosen] - begin), self.tensor(place[chosen])
            hidden[self.tensor(asked[chosen])] = states[rows]
        return hidden

    def _left_aligned(self, rows: Ragged) -> Tensor:
        padded: NDArray[np.int64] = np.full((len(rows), int(rows.lengths.max())), -1, np.int64)
        owner, positions = rows.positions()
        padded[owner, positions - rows.starts[owner]] = rows.values[positions]
        return self.tensor(padded)
