"""Soft labels: the divergence from the teacher's distribution over items."""

from __future__ import annotations

from typing import Literal

from distilrec.distillation.method import Method, Setting

__all__ = ["KL"]


class KL(Method):
    """temperature^2 times KL(teacher || student) over the store's soft labels: the default method.

    Temperature, and what stands for the items that aren't listed, are settings of the distillation, which computes
    this method together with the true labels: both need the same logits.

    Source: Hinton et al. 2015, over stored lists; `distilrec.losses.soft_label_kl` and its kin.
    """

    method: Literal["kl"] = "kl"

    def term(self, setting: Setting) -> None:
        """None of its own: it is computed with the true labels, from the same logits."""
