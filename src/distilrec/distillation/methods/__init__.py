"""Distillation methods, one file each: settings that recipes name, and the term of the loss that they make."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from distilrec.distillation.methods.ftd import FTD
from distilrec.distillation.methods.htd import HTD
from distilrec.distillation.methods.kl import KL
from distilrec.distillation.methods.rrd import RRD

__all__ = ["FTD", "HTD", "KL", "RRD", "AnyMethod"]

AnyMethod: TypeAlias = Annotated[FTD | HTD | KL | RRD, Field(discriminator="method")]
