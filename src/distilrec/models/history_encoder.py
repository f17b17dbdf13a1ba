"""A light encoder of histories: attention-pooled item vectors, for students that must be small and quick."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from distilrec.models.sasrec import distance_bias, distance_mask, pick
from distilrec.models.sequence import SequenceConfig, SequenceModel
from distilrec.models.tower import Catalogue

__all__ = ["HistoryEncoder", "HistoryEncoderConfig"]


class HistoryEncoderConfig(SequenceConfig):
    """Settings of the history encoder. heads: poolings of a history, each with its own attention."""

    model: Literal["history_encoder"] = "history_encoder"
    heads: int = Field(default=4, ge=1)


class HistoryEncoder(SequenceModel):
    """h = LayerNorm(W [p_1; ...; p_H] + v_last), p_h = sum_j softmax_j(a_h . v_j + r_h(distance of j)) v_j.

    Each head weighs a history's items by what they are (a_h) and by how long ago they came (r_h, learned per
    distance, started as decays of different speed). There is no user id: whoever has a history is served, and
    one more click changes the answer. Our own design, after the attention pooling of Li et al., NARM, CIKM
    2017, without its recurrent part.
    """

    def __init__(
        self, config: HistoryEncoderConfig, n_users: int, n_items: int, catalogue: Catalogue | None = None
    ) -> None:
        super().__init__(config, n_users, n_items, catalogue)
        width = config.embedding_size
        self.dropout = nn.Dropout(config.dropout)
        self.keys = nn.Linear(width, config.heads, bias=False)
        half_lives = 2.0 ** torch.linspace(0, 6, config.heads)
        distances = torch.arange(config.history_length)
        self.distance_bias = nn.Parameter(-distances / half_lives.unsqueeze(1))
        self.merge = nn.Linear(config.heads * width, width)
        self.norm = nn.LayerNorm(width)

    @property
    def last_bias(self) -> Tensor:
        """(D,)."""
        return self.norm.bias

    def states(self, vectors: Tensor) -> Tensor:
        """(b, L, D)."""
        vectors = self.dropout(vectors * self.width**0.5)
        length = vectors.shape[1]
        logits = self.keys(vectors).transpose(1, 2).unsqueeze(2) + distance_mask(self.distance_bias, length)
        pooled = logits.softmax(-1) @ vectors.unsqueeze(1)  # (b, H, L, L) @ (b, 1, L, D) -> (b, H, L, D)
        return self._merged(pooled.transpose(1, 2).flatten(2), vectors)

    def end_states(self, vectors: Tensor, ends: Tensor) -> Tensor:
        """(b, D)."""
        vectors = self.dropout(vectors * self.width**0.5)
        distance = ends.unsqueeze(1) - torch.arange(vectors.shape[1], device=vectors.device)  # (b, L)
        logits = self.keys(vectors).transpose(1, 2) + distance_bias(self.distance_bias, distance).transpose(0, 1)
        pooled = logits.softmax(-1) @ vectors  # (b, H, L) @ (b, L, D)
        return self._merged(pooled.flatten(1), pick(vectors, ends))

    def _merged(self, pooled: Tensor, own: Tensor) -> Tensor:
        normed: Tensor = self.norm(self.merge(pooled) + own)
        return normed
