"""What every metric owes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from distilrec.rng import generator

__all__ = ["MetricContract"]


class MetricContract:
    """What every top-K metric owes. metric: (hits (B, K), n_relevant (B,), k) -> (B,), as a staticmethod."""

    metric: ClassVar[Callable[[NDArray[np.bool_], NDArray[np.integer[Any]], int], NDArray[np.float64]]]

    def value(self, row: list[int], n_relevant: int, k: int | None = None) -> float:
        """The metric of one list."""
        hits = np.array([row], dtype=np.bool_)
        values = type(self).metric(hits, np.array([n_relevant]), k or len(row))
        assert values.shape == (1,)
        assert values.dtype == np.float64
        return float(values[0])

    def test_bounds(self) -> None:
        """Prevents a perfect list from scoring less than 1, and one query without targets from being NaN."""
        assert self.value([1, 1, 1], 3) == pytest.approx(1.0)
        assert self.value([0, 0, 0], 3) == 0.0
        assert self.value([0, 0, 0], 0) == 0.0

    def test_one_value_per_query(self) -> None:
        """Prevents a mean within the batch, which would weigh queries by their batch."""
        hits = generator(0, "hits").random((5, 4)) < 0.4
        relevant = hits.sum(1) + 1
        together = type(self).metric(hits, relevant, 4)
        alone = [self.value(list(map(int, row)), int(n)) for row, n in zip(hits, relevant, strict=True)]
        np.testing.assert_allclose(together, alone)
        assert bool(((together >= 0) & (together <= 1)).all())

    def test_better_lists_score_no_less(self) -> None:
        """Prevents a reversed discount; what lies beyond k has no say."""
        assert self.value([1, 0, 0, 0], 2) >= self.value([0, 0, 1, 0], 2)
        assert self.value([1, 1, 0, 0], 2) > self.value([0, 0, 0, 0], 2)
        assert self.value([0, 1, 1, 1], 3, 2) == self.value([0, 1, 0, 0], 3, 2)

    def test_arguments_that_do_not_fit_are_refused(self) -> None:
        """Prevents a list that is shorter than its cut-off from being counted as if it were long."""
        with pytest.raises(ValueError, match="cut-off"):
            self.value([1, 0], 1, 3)
