"""Training students from teachers: offline from soft labels, or jointly."""

from distilrec.distillation.controls import HardPositives, ShuffledLabels
from distilrec.distillation.joint import BD, AnyJointMethod, Mutual, check_pair, distil_jointly
from distilrec.distillation.method import Method
from distilrec.distillation.methods import KL, METHODS
from distilrec.distillation.offline import DistillationConfig, distil

__all__ = [
    "BD",
    "KL",
    "METHODS",
    "AnyJointMethod",
    "DistillationConfig",
    "HardPositives",
    "Method",
    "Mutual",
    "ShuffledLabels",
    "check_pair",
    "distil",
    "distil_jointly",
]
