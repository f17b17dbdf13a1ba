"""Training students from teachers: offline from soft labels, or jointly."""

from distilrec.distillation.controls import HardPositives, ShuffledLabels
from distilrec.distillation.joint import check_pair, distil_jointly
from distilrec.distillation.offline import DistillationConfig, distil

__all__ = ["DistillationConfig", "HardPositives", "ShuffledLabels", "check_pair", "distil", "distil_jointly"]
