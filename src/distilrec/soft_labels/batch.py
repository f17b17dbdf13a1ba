"""What the training of a student reads of a store: soft labels for some queries, as tensors."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from distilrec.errors import SoftLabelError
from distilrec.ranking import top_k

__all__ = ["SoftBatch"]


@dataclass(frozen=True, slots=True, eq=False)
class SoftBatch:
    """What the teacher said of B queries. Where a mask is False, item and score are 0.

    recorded: (B,) bool, False where the teacher wasn't asked; such rows are all masked.
    items: (B, K) int64, best first (kind `full`: 0..N-1). scores: (B, K) float32, the teacher's own. mask:
    (B, K) bool.
    log_sum_exp: (B, G) float32, of scores / temperature over all items that weren't left out, for each of
    `temperatures`; 0 where there were none.
    tail_items: (B, S) int64, a uniform sample of the items not listed. tail_scores, tail_mask: (B, S).
    tail_probability: (B,) float32, how probable it was for each such item to be in the sample.
    hidden: (B, D) float32, zeros where not recorded; None where the store has none.
    ranked: whether items come best first; those of kind `full` come by their numbers.
    """

    recorded: Tensor
    items: Tensor
    scores: Tensor
    mask: Tensor
    log_sum_exp: Tensor
    temperatures: tuple[float, ...]
    tail_items: Tensor
    tail_scores: Tensor
    tail_mask: Tensor
    tail_probability: Tensor
    hidden: Tensor | None
    ranked: bool = True

    def __len__(self) -> int:
        return len(self.recorded)

    def to(self, device: torch.device | str) -> SoftBatch:
        """The batch on another device."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        moved: dict[str, Any] = {k: v.to(device) for k, v in tensors.items() if isinstance(v, Tensor)}
        return replace(self, **moved)

    def best(self, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """The teacher's k best items, best first: items, scores and mask, (B, k) each.

        Fewer columns where fewer are listed. What is masked comes last.
        """
        if self.ranked:
            return self.items[:, :k], self.scores[:, :k], self.mask[:, :k]
        order = top_k(self.scores.masked_fill(~self.mask, -torch.inf), min(k, self.scores.shape[1]))[1]
        return self.items.gather(1, order), self.scores.gather(1, order), self.mask.gather(1, order)

    def log_sum_exp_at(self, temperature: float) -> Tensor:
        """(B,): the log-sum-exp of scores / temperature.

        Raises SoftLabelError at a temperature that wasn't recorded: between two of them it is not known.
        """
        for column, known in enumerate(self.temperatures):
            if abs(known - temperature) <= 1e-6 * known:
                return self.log_sum_exp[:, column]
        raise SoftLabelError(
            f"soft labels: no log-sum-exp at temperature {temperature:g}, only at "
            f"{', '.join(f'{known:g}' for known in self.temperatures)}; take one of them, or record that one"
        )

    def confidence(self, temperature: float) -> Tensor:
        """(B,) in [0, 1]: the teacher's probability of its best item; 0 where there is none.

        Raises SoftLabelError as `log_sum_exp_at` does.
        """
        best = self.scores.masked_fill(~self.mask, -torch.inf).amax(1)
        return (best / temperature - self.log_sum_exp_at(temperature)).exp().clamp(max=1.0)

    def candidates(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Listed and sampled items: items, scores, mask and inclusion probability, (B, K + S) each."""
        listed = torch.ones_like(self.scores)
        sampled = self.tail_probability.unsqueeze(1).expand_as(self.tail_scores)
        return (
            torch.cat([self.items, self.tail_items], dim=1),
            torch.cat([self.scores, self.tail_scores], dim=1),
            torch.cat([self.mask, self.tail_mask], dim=1),
            torch.cat([listed, sampled], dim=1),
        )
