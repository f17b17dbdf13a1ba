"""Ridge regression, of several strengths at once."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Ridge"]


class Ridge:
    """Y = m + X W, with the squared errors' sum and `strength` |W|^2 least; X is about its mean as it is given.

    x: (n, K). y: (n, D). Products are summed in float64.

    >>> x, y = torch.tensor([[-1.0], [1.0]]), torch.tensor([[2.0], [6.0]])
    >>> weights, mean = Ridge(x, y).solve(2.0)
    >>> weights.item(), mean.item()
    (1.0, 4.0)
    """

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self._mean = y.mean(0)
        self._gram = x.T.double() @ x.double()
        self._moments = x.T.double() @ (y - self._mean).double()

    def solve(self, strength: float) -> tuple[Tensor, Tensor]:
        """(K, D) weights and (D,) mean, float32."""
        penalty = strength * torch.eye(len(self._gram), dtype=torch.float64)
        return torch.linalg.solve(self._gram + penalty, self._moments).float(), self._mean
