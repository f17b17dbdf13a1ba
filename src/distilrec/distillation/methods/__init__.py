"""Distillation methods, one file each: settings that recipes name, and the term of the loss that they make."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from distilrec.distillation.methods.gated_teachers import GatedTeachers
from distilrec.distillation.methods.hetcomp import HetComp
from distilrec.distillation.methods.kl import KL
from distilrec.distillation.methods.rank_aggregation import RankAggregation
from distilrec.distillation.methods.rrd import RRD

__all__ = ["KL", "RRD", "AnyMethod", "GatedTeachers", "HetComp", "RankAggregation"]

AnyMethod: TypeAlias = Annotated[GatedTeachers | HetComp | KL | RankAggregation | RRD, Field(discriminator="method")]
