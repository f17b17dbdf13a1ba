"""What every loss owes."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from distilrec.errors import SoftLabelError

__all__ = ["LossContract"]


class LossContract:
    """What every loss on a student's and a teacher's scores owes. loss: as a staticmethod."""

    loss: ClassVar[Callable[[Tensor, Tensor, Tensor], Tensor]]

    def value(self, student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The loss and the gradient at the student's scores."""
        student = student.detach().clone().requires_grad_()
        everything = torch.ones(student.shape, dtype=torch.bool)
        loss = type(self).loss(student, teacher, everything if mask is None else mask)
        assert loss.shape == ()
        (gradient,) = torch.autograd.grad(loss, student)
        return loss.detach(), gradient

    @pytest.fixture
    def scores(self) -> tuple[Tensor, Tensor]:
        """Student's and teacher's, (4, 6)."""
        rng = torch.Generator().manual_seed(0)
        return torch.randn(4, 6, generator=rng), torch.randn(4, 6, generator=rng)

    def test_agreement_costs_less_than_contradiction(self, scores: tuple[Tensor, Tensor]) -> None:
        """Prevents a loss whose sign is turned."""
        _, teacher = scores
        assert self.value(teacher, teacher)[0] < self.value(-teacher, teacher)[0]

    def test_it_is_a_mean(self, scores: tuple[Tensor, Tensor]) -> None:
        """Prevents lambda from depending on the size of the batch."""
        student, teacher = scores
        twice = self.value(student.repeat(2, 1), teacher.repeat(2, 1))[0]
        torch.testing.assert_close(twice, self.value(student, teacher)[0])

    def test_masked_candidates_have_no_say(self, scores: tuple[Tensor, Tensor]) -> None:
        """Prevents padding from entering the sums; what stands there may be NaN."""
        student, teacher = scores
        mask = torch.ones(4, 6, dtype=torch.bool)
        mask[:, 4:] = False
        expected, inside = self.value(student[:, :4], teacher[:, :4])
        for filler in (0.0, 1e9, torch.nan):
            loss, gradient = self.value(student, teacher.masked_fill(~mask, filler), mask)
            torch.testing.assert_close(loss, expected)
            torch.testing.assert_close(gradient[:, :4], inside)
            assert bool((gradient[:, 4:] == 0).all())

    def test_degenerate_rows(self, scores: tuple[Tensor, Tensor]) -> None:
        """Prevents NaN from rows without candidates, with one only, with ties, and from extreme scores."""
        student, teacher = scores
        none = torch.zeros(4, 6, dtype=torch.bool)
        loss, gradient = self.value(student, teacher, none)
        assert loss == 0
        assert bool((gradient == 0).all())
        none[:, 0] = True
        for case in (
            self.value(student, teacher, none),
            self.value(student, torch.zeros(4, 6)),
            self.value(torch.zeros(4, 6), teacher),
            self.value(student * 1e4, -teacher * 1e4),
        ):
            assert all(bool(part.isfinite().all()) for part in case)

    def test_the_teacher_gets_no_gradient(self, scores: tuple[Tensor, Tensor]) -> None:
        """Prevents the teacher from moving towards its student."""
        student, teacher = (part.clone().requires_grad_() for part in scores)
        type(self).loss(student, teacher, torch.ones(4, 6, dtype=torch.bool)).backward()  # type: ignore[no-untyped-call]
        assert teacher.grad is None

    def test_arguments_that_do_not_fit_are_refused(self, scores: tuple[Tensor, Tensor]) -> None:
        """Prevents broadcasting, and a student that learns NaN."""
        student, teacher = scores
        with pytest.raises(ValueError, match="expected"):
            self.value(student, teacher[:, :1])
        with pytest.raises(SoftLabelError, match="NaN"):
            self.value(student, teacher.where(teacher > teacher.min(), torch.nan))
