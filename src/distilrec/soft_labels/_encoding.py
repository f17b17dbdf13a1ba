"""From a block of scores to the arrays of a store; scores in 16 bits, relative to the best of the row."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distilrec.errors import SoftLabelError
from distilrec.ranking import top_k
from distilrec.soft_labels.manifest import Layout

__all__ = ["decode", "encode", "encode_block", "score_scale"]

_CHUNK_BYTES = 2**20  # of scores looked at for each temperature in turn: they stay in the processor's cache


def score_scale(best: NDArray[np.float32], *scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """(B,): distance of the row's best score from its lowest finite one, 1 where there is none.

    best: (B,). scores: arrays (B, C), -inf where nothing is stored.
    """
    lowest = best.copy()
    for part in scores:
        lowest = np.minimum(lowest, np.min(part, axis=1, initial=np.inf, where=np.isfinite(part)))
    scale = best - lowest
    return np.where(scale > 0, scale, 1).astype(np.float32)


def encode(scores: NDArray[np.float32], best: NDArray[np.float32], scale: NDArray[np.float32]) -> NDArray[np.float16]:
    """(B, C): (score - best) / scale, which lies in [-1, 0], so it neither overflows nor changes the order.

    The error is at most 2^-11 of the distance from the best score (and at least 2^-25 of the scale): the top
    of a list, which carries the mass, is the most exact. Scores nearer to each other than that become equal.

    >>> best, scale = np.array([1e6], np.float32), np.array([2e5], np.float32)
    >>> decode(encode(np.array([[1e6, 9e5, 8e5]], np.float32), best, scale), best, scale).tolist()
    [[1000000.0, 900000.0, 800000.0]]
    """
    return ((scores - best[:, None]) / scale[:, None]).astype(np.float16)


def decode(codes: NDArray[Any], best: NDArray[np.float32], scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """(B, C) float32: the scores that `encode` was given."""
    decoded: NDArray[np.float32] = best[:, None] + scale[:, None] * codes.astype(np.float32)
    return decoded


def encode_block(
    scores: Tensor, states: Tensor | None, layout: Layout, rng: np.random.Generator
) -> dict[str, NDArray[Any]]:
    """The columns of `layout` for scores (B, N), -inf where left out, but for the query ids.

    states: (B, D), or None where the layout has none. rng: draws the tail. The scores are overwritten.
    """
    left = (scores > -torch.inf).view(torch.int8).sum(1)  # (B,): items that may be recommended; slow as sum of bool
    best = scores.amax(1).masked_fill(left == 0, 0.0)
    columns = {"log_sum_exp": _log_sum_exp(scores, best, layout.temperatures).masked_fill(left[:, None] == 0, 0.0)}
    if layout.kind == "full":
        columns["scores"] = scores
    else:
        values, items = top_k(scores, layout.k)
        columns |= {"scores": values, "items": items.masked_fill(values == -torch.inf, -1)}
        if layout.tail > 0:
            rest, left = scores.scatter_(1, items, -torch.inf), (left - layout.k).clamp(min=0)
            drawn = _sample(rest, left, layout.tail, rng)
            sampled = rest.gather(1, drawn.clamp(min=0)).masked_fill(drawn < 0, -torch.inf)
            probability = (layout.tail / left.clamp(min=1)).clamp(max=1.0)
            columns |= {"tail_items": drawn, "tail_scores": sampled, "tail_probability": probability}
    if states is not None:
        columns["hidden"] = states
    arrays = {name: column.cpu().numpy() for name, column in columns.items()}
    if layout.dtype == "float16":
        _halve(arrays, best.cpu().numpy())
    return arrays


def _log_sum_exp(scores: Tensor, best: Tensor, temperatures: tuple[float, ...]) -> Tensor:
    """(B, G): log sum exp(score / temperature); best: (B,), the row's maximum."""
    rows = max(1, _CHUNK_BYTES // (scores.element_size() * scores.shape[1]))
    parts = zip(torch.split(scores, rows), torch.split(best, rows), strict=True)
    sums = torch.cat([_sums_of_exp(part - highest.unsqueeze(1), temperatures) for part, highest in parts])
    return sums.log() + best.unsqueeze(1) / torch.tensor(temperatures, device=best.device)


def _sums_of_exp(scores: Tensor, temperatures: tuple[float, ...]) -> Tensor:
    """(p, G): sum exp(score / temperature), for scores (p, N) of at most 0.

    At half the temperature before it, exp is the square of what it was, for a fifth of the time; sixteenfold squares
    lose four of the 24 bits of a term.
    """
    sums, powers, before = {}, torch.empty_like(scores), torch.inf
    for temperature in sorted(temperatures, reverse=True):
        if 2 * temperature == before:
            powers.square_()
        else:
            torch.mul(scores, 1.0 / temperature, out=powers).exp_()
        sums[temperature], before = powers.sum(1), temperature
    return torch.stack([sums[temperature] for temperature in temperatures], dim=1)


def _sample(rest: Tensor, left: Tensor, size: int, rng: np.random.Generator) -> Tensor:
    """(B, size): items drawn uniformly and without replacement from those of each row of `rest` above -inf.

    rest: (B, N). left: (B,), how many such items there are. Items are in ascending order, with -1 behind the
    last where there are fewer than `size`.
    One random order of all items serves the block: a row takes the first free items from a place of its own
    on, which looks at few items instead of N. Rows of one block aren't independent; each of them is uniform.
    """
    n_rows, n_items = rest.shape
    order = torch.from_numpy(rng.permutation(n_items)).to(rest.device)
    first = torch.from_numpy(rng.integers(0, n_items, (n_rows, 1))).to(rest.device)
    length = min(n_items, n_items - int(left.min()) + size)
    items = order[(first + torch.arange(length, device=rest.device)) % n_items]  # (B, length)
    free = rest.gather(1, items) > -torch.inf
    chosen = free & (free.cumsum(1) <= size)
    items = items.masked_fill(~chosen, n_items).sort(dim=1).values[:, :size]
    return items.masked_fill(items == n_items, -1)


def _halve(arrays: dict[str, NDArray[Any]], best: NDArray[np.float32]) -> None:
    """Turn the scores and hidden states of a block into float16."""
    names = [name for name in ("scores", "tail_scores") if name in arrays]
    scale = score_scale(best, *(arrays[name] for name in names))
    arrays |= {"score_max": best, "score_scale": scale}
    for name in names:
        arrays[name] = encode(arrays[name], best, scale)
    if "hidden" in arrays:
        largest = float(np.abs(arrays["hidden"]).max(initial=0))
        if largest > float(np.finfo(np.float16).max):
            raise SoftLabelError(
                f"record: a hidden state of {largest:.3g} doesn't fit into float16; take dtype 'float32'"
            )
        arrays["hidden"] = arrays["hidden"].astype(np.float16)
