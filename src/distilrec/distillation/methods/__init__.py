"""Distillation methods, one file each: settings that recipes name, and the term of the loss that they make."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from distilrec.distillation.methods.ir_rrd import IRRRD
from distilrec.distillation.methods.kl import KL
from distilrec.distillation.methods.rank_distil import RankDistil
from distilrec.distillation.methods.rrd import RRD
from distilrec.distillation.methods.unkd import UnKD

__all__ = ["IRRRD", "KL", "RRD", "AnyMethod", "RankDistil", "UnKD"]

AnyMethod: TypeAlias = Annotated[IRRRD | KL | RankDistil | RRD | UnKD, Field(discriminator="method")]
