"""SASRec: a causal Transformer over the history."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from distilrec.models.sequence import SequenceConfig, SequenceModel
from distilrec.models.tower import Catalogue

__all__ = ["SASRec", "SASRecConfig"]


class SASRecConfig(SequenceConfig):
    """Settings of SASRec.

    layers, heads: of the Transformer; embedding_size must be a multiple of heads. feed_forward: width of its
    inner layer, in multiples of D.
    """

    model: Literal["sasrec"] = "sasrec"
    layers: int = Field(default=2, ge=1)
    heads: int = Field(default=2, ge=1)
    feed_forward: int = Field(default=2, ge=1)

    @model_validator(mode="after")
    def _heads_fit(self) -> SASRecConfig:
        if self.embedding_size % self.heads:
            raise ValueError(f"{self.heads} heads can't share an embedding_size of {self.embedding_size} evenly")
        return self


class SASRec(SequenceModel):
    """Self-attention over the last L items; score = state . v + b, with the input's item vectors.

    Source: Kang and McAuley, Self-Attentive Sequential Recommendation, ICDM 2018. Deviations: a learned bias
    per head and distance instead of position vectors, so that prefixes share a pass; normalisation before
    each sublayer and after the last; GELU; the loss is chosen (the paper's is `bce` with one negative); an item
    bias; no dropout of attention weights.
    """

    def __init__(self, config: SASRecConfig, n_users: int, n_items: int, catalogue: Catalogue | None = None) -> None:
        super().__init__(config, n_users, n_items, catalogue)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.embedding_size)

    @property
    def last_bias(self) -> Tensor:
        """(D,)."""
        return self.norm.bias

    def states(self, vectors: Tensor) -> Tensor:
        """(b, L, D)."""
        x = self.dropout(vectors * self.width**0.5)
        for block in self.blocks:
            x = block(x)
        normed: Tensor = self.norm(x)
        return normed

    def end_states(self, vectors: Tensor, ends: Tensor) -> Tensor:
        """(b, D)."""
        x = self.dropout(vectors * self.width**0.5)
        for block in self.blocks[:-1]:
            x = block(x)
        last = self.blocks[-1]
        assert isinstance(last, _Block)
        normed: Tensor = self.norm(last.at(x, ends))
        return normed


class _Block(nn.Module):
    """Attention, then a feed-forward layer, each beside a residual connection."""

    def __init__(self, config: SASRecConfig) -> None:
        super().__init__()
        width, inner = config.embedding_size, config.embedding_size * config.feed_forward
        self.heads = config.heads
        self.dropout = config.dropout
        self.norm_attention = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width, bias=False)
        self.merge = nn.Linear(width, width, bias=False)
        self.distance_bias = nn.Parameter(torch.zeros(config.heads, config.history_length))
        self.norm_inner = nn.LayerNorm(width)
        self.inner = nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))

    def forward(self, x: Tensor) -> Tensor:
        """(b, L, D) -> (b, L, D)."""
        b, length, width = x.shape
        qkv: Tensor = self.queries_keys_values(self.norm_attention(x))
        split = qkv.view(b, length, 3, self.heads, width // self.heads)
        q, k, v = split.permute(2, 0, 3, 1, 4)  # (b, H, L, D/H) each
        attended = scaled_dot_product_attention(
            q, k, v, attn_mask=distance_mask(self.distance_bias, length), dropout_p=0.0
        )
        return self._fed_forward(x, attended.transpose(1, 2).reshape(b, length, width))

    def at(self, x: Tensor, ends: Tensor) -> Tensor:
        """(b, L, D) -> (b, D), at places (b,): keys and values of all items, one query, one vector fed forward."""
        b, length, width = x.shape
        to_query, to_rest = self.queries_keys_values.weight[:width], self.queries_keys_values.weight[width:]
        normed, own = self.norm_attention(x), pick(x, ends)
        q = nn.functional.linear(self.norm_attention(own), to_query).view(b, self.heads, 1, -1)
        k, v = nn.functional.linear(normed, to_rest).view(b, length, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        mask = distance_bias(self.distance_bias, ends.unsqueeze(1) - torch.arange(length, device=x.device))
        attended = scaled_dot_product_attention(q, k, v, attn_mask=mask.transpose(0, 1).unsqueeze(2))  # (b, H, 1, D/H)
        return self._fed_forward(own, attended.reshape(b, width))

    def _fed_forward(self, x: Tensor, attended: Tensor) -> Tensor:
        x = x + nn.functional.dropout(self.merge(attended), self.dropout, self.training)
        return x + nn.functional.dropout(self.inner(self.norm_inner(x)), self.dropout, self.training)


def pick(x: Tensor, places: Tensor) -> Tensor:
    """(b, L, D), (b,) -> (b, D): what stands at a place of each row."""
    return x.gather(1, places.view(-1, 1, 1).expand(-1, 1, x.shape[2])).flatten(1)


def distance_bias(bias: Tensor, distance: Tensor) -> Tensor:
    """(H, ...): bias (H, L) at distances (...) int64, -inf where they are below 0, in the future."""
    return bias[:, distance.clamp(min=0)].masked_fill(distance < 0, -torch.inf)


def distance_mask(bias: Tensor, length: int) -> Tensor:
    """(H, L, L): bias[:, i - j] where j <= i, -inf where j lies in the future of i.

    >>> distance_mask(torch.tensor([[0.5, 0.25]]), 2)
    tensor([[[0.5000,   -inf],
             [0.2500, 0.5000]]])
    """
    steps = torch.arange(length, device=bias.device)
    return distance_bias(bias, steps.unsqueeze(1) - steps)
