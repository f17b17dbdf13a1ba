"""The items that several lists name, each once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

__all__ = ["Lists", "Union", "unite", "vote"]

Lists: TypeAlias = tuple[Tensor, Tensor]  # items (P, C) int64, and mask (P, C) bool


@dataclass(frozen=True, eq=False)
class Union:
    """For each of P queries the items of all lists together.

    items: (P, U) int64, ascending; 0 where `mask` is False, which is at the ends. places: of each list (P, C), where
    its candidates stand in `items`; masked ones stand where the mask is False.
    """

    items: Tensor
    mask: Tensor
    places: tuple[Tensor, ...]

    def spread(self, number: int, values: Tensor, fill: float = 0.0) -> Tensor:
        """(P, U): the values (P, C) of a list's candidates at the places of their items, `fill` elsewhere."""
        filled = values.new_full(self.items.shape, fill)
        return filled.scatter_(1, self.places[number], values).masked_fill(~self.mask, fill)

    def find(self, rows: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Of items (T,) of the queries `rows` (T,): their places (T,), and whether (T,) they are there at all."""
        end = 1 + max((int(part.max()) for part in (self.items, items) if part.numel()), default=0)
        begins = torch.arange(len(self.items), device=rows.device) * (end + 1)
        keys = (self.items.masked_fill(~self.mask, end) + begins.unsqueeze(1)).flatten()
        wanted = items + begins[rows]
        found = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
        there = keys[found] == wanted
        return torch.where(there, found - rows * self.items.shape[1], 0), there


def unite(lists: Sequence[Lists]) -> Union:
    """The union of lists.

    >>> everything = torch.ones(1, 2, dtype=torch.bool)
    >>> union = unite([(torch.tensor([[5, 3]]), everything), (torch.tensor([[3, 9]]), everything)])
    >>> union.items.tolist(), [places.tolist() for places in union.places]
    ([[3, 5, 9]], [[[1, 0]], [[0, 2]]])
    """
    items, mask = (torch.cat(columns, dim=1) for columns in zip(*lists, strict=True))
    end = int(items.max()) + 1 if items.numel() else 0
    # Item and place in one number: NumPy sorts these in a tenth of the time that torch takes for both.
    bits = items.shape[1].bit_length()
    keys = (items.masked_fill(~mask, end) << bits) + torch.arange(items.shape[1], device=items.device)
    keys = torch.from_numpy(np.sort(keys.cpu().numpy(), axis=1)).to(items.device)
    ordered, order = keys >> bits, keys & (2**bits - 1)
    number = torch.zeros_like(order)
    number[:, 1:] = (ordered[:, 1:] != ordered[:, :-1]).cumsum(1)
    places = torch.empty_like(order).scatter_(1, order, number)
    # A last column, for what is masked in rows that fill all others.
    width = int(number.max()) + 1 if number.numel() else 0
    united = torch.full((len(items), width), end, device=items.device).scatter_(1, number, ordered)
    kept = united < end
    widths = [part.shape[1] for part, _ in lists]
    return Union(united.masked_fill(~kept, 0), kept, torch.split(places, widths, dim=1))


def vote(lists: Sequence[Lists], sample: Lists, weights: Sequence[float], points: Tensor) -> tuple[Union, Tensor]:
    """The union of the teachers' lists, best first, and of a sample of other items; and each item's points (P, U).

    weights: of the teachers. points: (pool,), falling, above 0: of the items of one list; an item that a teacher
    doesn't list has none of it. Where points are equal, the earlier teacher's count more.
    """
    union = unite([*lists, sample])
    votes = torch.zeros(union.items.shape, device=union.items.device)
    for number, ((items, _), weight) in enumerate(zip(lists, weights, strict=True)):
        each = weight * (1 - 1e-5 * number) * points[: items.shape[1]].to(votes.device)
        votes += union.spread(number, each.expand(items.shape))
    return union, votes
