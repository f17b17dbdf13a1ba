"""Drawing items: from the teacher's lists, and by weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distilrec.soft_labels import SoftBatch

__all__ = ["LISTED", "OTHERS", "as_lists", "draw", "gumbel", "places_by_rank", "some"]


# Of a store of kind `full`, which has no lists: as many as other stores have by default.
LISTED, OTHERS = 100, 100


def as_lists(soft: SoftBatch, k: int, others: int, rng: np.random.Generator) -> SoftBatch:
    """What a store says of some queries as lists, best first, and a sample of what isn't listed.

    A store of kind `full` has neither: its items come in the order of their numbers. Here they are ordered, the best k
    are listed, and `others` of the rest are drawn, the same ranks for all queries. Stores of other kinds stay as is.
    """
    if soft.ranked:
        return soft
    order = soft.scores.masked_fill(~soft.mask, -torch.inf).argsort(dim=1, descending=True, stable=True)
    first, rest = order[:, :k], order[:, k:]
    drawn = rng.permutation(rest.shape[1])[:others]
    tail = rest[:, torch.from_numpy(drawn).to(rest.device)]
    return replace(
        soft,
        items=soft.items.gather(1, first),
        scores=soft.scores.gather(1, first),
        mask=soft.mask.gather(1, first),
        tail_items=soft.items.gather(1, tail),
        tail_scores=soft.scores.gather(1, tail),
        tail_mask=soft.mask.gather(1, tail),
        tail_probability=torch.full_like(soft.tail_probability, len(drawn) / max(rest.shape[1], 1)),
    )


def places_by_rank(mask: Tensor, n: int, sharpness: float, rng: np.random.Generator) -> Tensor:
    """(B, n) int64, ascending: places in lists, drawn with probability proportional to exp(-rank / sharpness).

    mask: (B, K) bool, True where a list has an item; what is masked comes last. Without replacement: the n largest of
    log p plus Gumbel noise (Kool et al., ICML 2019). Where n is at least K, all places, without drawing.

    >>> places_by_rank(torch.ones(1, 3, dtype=torch.bool), 3, 1.0, np.random.default_rng(0))
    tensor([[0, 1, 2]])
    """
    rows, width = mask.shape
    if n >= width:
        return torch.arange(width, device=mask.device).expand(rows, -1)
    keys = gumbel((rows, width), rng).to(mask.device) - torch.arange(width, device=mask.device) / sharpness
    return keys.masked_fill(~mask, -torch.inf).topk(n, dim=1).indices.sort(1).values


@torch.no_grad()
def draw(rng: np.random.Generator, weights: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """n columns of each row, without replacement, p proportional to weights (P, C), at least 0: columns and mask.

    Both (P, n), or (P, C) if that is less, columns ascending. Masked where a row has fewer weights above 0.
    The n largest of weight over exponential noise: the Gumbel top-k of Kool et al., ICML 2019, without its logarithms.
    """
    noise = torch.from_numpy(rng.standard_exponential(tuple(weights.shape), dtype=np.float32)).to(weights.device)
    keys = weights / noise.clamp(min=1e-30)
    columns = keys.topk(min(n, weights.shape[1]), dim=1).indices.sort(1).values
    return columns, weights.gather(1, columns) > 0


def gumbel(shape: tuple[int, ...], rng: np.random.Generator) -> Tensor:
    """Standard Gumbel noise, float32: the highest of scores + noise are draws by softmax, without replacement.

    It is -log of exponential noise: a sixth of the time that NumPy's `gumbel` takes.
    """
    return torch.from_numpy(rng.standard_exponential(shape, dtype=np.float32)).clamp_(min=1e-30).log_().neg_()


def some(values: NDArray[np.int64], most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """All values (n,), or `most` of them drawn evenly and without replacement, ascending."""
    return values if len(values) <= most else np.sort(rng.choice(values, most, replace=False))
