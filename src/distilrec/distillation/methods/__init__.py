"""Distillation methods, one file each: settings that recipes name, and the term of the loss that they make."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from distilrec.distillation.methods.dllm2rec import DLLM2Rec
from distilrec.distillation.methods.kl import KL
from distilrec.distillation.methods.pfd import PFD
from distilrec.distillation.methods.rrd import RRD

__all__ = ["KL", "PFD", "RRD", "AnyMethod", "DLLM2Rec"]

AnyMethod: TypeAlias = Annotated[DLLM2Rec | KL | PFD | RRD, Field(discriminator="method")]
