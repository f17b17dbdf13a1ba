"""Distillation methods, one file each: settings that recipes name, and the term of the loss that they make."""

from __future__ import annotations

from typing import Annotated, TypeAlias, get_args

from pydantic import Field

from distilrec.distillation.method import Method
from distilrec.distillation.methods.cd import CD
from distilrec.distillation.methods.dcd import DCD
from distilrec.distillation.methods.de import DE
from distilrec.distillation.methods.dllm2rec import DLLM2Rec
from distilrec.distillation.methods.expected_recall import ExpectedRecall
from distilrec.distillation.methods.fitnet import FitNet
from distilrec.distillation.methods.freqd import FreqD
from distilrec.distillation.methods.ftd import FTD
from distilrec.distillation.methods.gated_teachers import GatedTeachers
from distilrec.distillation.methods.hetcomp import HetComp
from distilrec.distillation.methods.htd import HTD
from distilrec.distillation.methods.ir_rrd import IRRRD
from distilrec.distillation.methods.kl import KL
from distilrec.distillation.methods.pckd import PCKD
from distilrec.distillation.methods.pfd import PFD
from distilrec.distillation.methods.rank_aggregation import RankAggregation
from distilrec.distillation.methods.rank_distil import RankDistil
from distilrec.distillation.methods.rce_kd import RCEKD
from distilrec.distillation.methods.rd import RD
from distilrec.distillation.methods.rrd import RRD
from distilrec.distillation.methods.unkd import UnKD

__all__ = [
    "CD",
    "DCD",
    "DE",
    "FTD",
    "HTD",
    "IRRRD",
    "KL",
    "METHODS",
    "PCKD",
    "PFD",
    "RCEKD",
    "RD",
    "RRD",
    "AnyMethod",
    "DLLM2Rec",
    "ExpectedRecall",
    "FitNet",
    "FreqD",
    "GatedTeachers",
    "HetComp",
    "RankAggregation",
    "RankDistil",
    "UnKD",
]

AnyMethod: TypeAlias = Annotated[
    CD
    | DCD
    | DE
    | DLLM2Rec
    | ExpectedRecall
    | FTD
    | FitNet
    | FreqD
    | GatedTeachers
    | HTD
    | HetComp
    | IRRRD
    | KL
    | PCKD
    | PFD
    | RCEKD
    | RD
    | RRD
    | RankAggregation
    | RankDistil
    | UnKD,
    Field(discriminator="method"),
]

METHODS: dict[str, type[Method]] = {
    method.model_fields["method"].default: method for method in get_args(get_args(AnyMethod)[0])
}
"""The methods by their names."""
