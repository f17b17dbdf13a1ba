"""Distillation methods, one file each: settings that recipes name, and the term of the loss that they make."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from distilrec.distillation.methods.cd import CD
from distilrec.distillation.methods.dcd import DCD
from distilrec.distillation.methods.kl import KL
from distilrec.distillation.methods.rce_kd import RCEKD
from distilrec.distillation.methods.rd import RD
from distilrec.distillation.methods.rrd import RRD

__all__ = ["CD", "DCD", "KL", "RCEKD", "RD", "RRD", "AnyMethod"]

AnyMethod: TypeAlias = Annotated[CD | DCD | KL | RCEKD | RD | RRD, Field(discriminator="method")]
