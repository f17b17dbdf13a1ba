"""Distillation methods, one file each: settings that recipes name, and the term of the loss that they make."""

from __future__ import annotations

from typing import Annotated, TypeAlias, get_args

from pydantic import Field

from distilrec.distillation.method import Method
from distilrec.distillation.methods.dllm2rec import DLLM2Rec
from distilrec.distillation.methods.kl import KL
from distilrec.distillation.methods.pfd import PFD
from distilrec.distillation.methods.rrd import RRD

__all__ = [
    "KL",
    "METHODS",
    "PFD",
    "RRD",
    "AnyMethod",
    "DLLM2Rec",
]

AnyMethod: TypeAlias = Annotated[DLLM2Rec | KL | PFD | RRD, Field(discriminator="method")]

METHODS: dict[str, type[Method]] = {
    method.model_fields["method"].default: method for method in get_args(get_args(AnyMethod)[0])
}
"""The methods by their names."""
