"""Ridge regression, of several strengths at once."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

__all__ = ["Ridge"]


class Ridge:
    """Y = m + X W, with the squared errors' sum and `strength` |W|^2 least; X is about its mean as it is given.

    blocks: of rows of X, (n, K), one after the other. y: (N, D), for all of them. Products are summed in float64.

    >>> x, y = torch.tensor([[-1.0], [1.0]]), torch.tensor([[2.0], [6.0]])
    >>> weights, mean = Ridge([x], y).solve(2.0)
    >>> weights.item(), mean.item()
    (1.0, 4.0)
    """

    def __init__(self, blocks: Iterable[Tensor], y: Tensor) -> None:
        self._mean, begin = y.mean(0), 0
        gram = moments = torch.zeros((), dtype=torch.float64)
        for block in blocks:
            x, end = block.double(), begin + len(block)
            gram = gram + x.T @ x
            moments = moments + x.T @ (y[begin:end] - self._mean).double()
            begin = end
        self._gram, self._moments = gram, moments

    def solve(self, strength: float) -> tuple[Tensor, Tensor]:
        """(K, D) weights and (D,) mean, float32."""
        penalty = strength * torch.eye(len(self._gram), dtype=torch.float64)
        return torch.linalg.solve(self._gram + penalty, self._moments).float(), self._mean
