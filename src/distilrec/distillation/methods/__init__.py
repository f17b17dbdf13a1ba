"""Distillation methods, one file each: settings that recipes name, and the term of the loss that they make."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from distilrec.distillation.methods.de import DE
from distilrec.distillation.methods.fitnet import FitNet
from distilrec.distillation.methods.freqd import FreqD
from distilrec.distillation.methods.kl import KL
from distilrec.distillation.methods.pckd import PCKD
from distilrec.distillation.methods.rrd import RRD

__all__ = ["DE", "KL", "PCKD", "RRD", "AnyMethod", "FitNet", "FreqD"]

AnyMethod: TypeAlias = Annotated[DE | FitNet | FreqD | KL | PCKD | RRD, Field(discriminator="method")]
