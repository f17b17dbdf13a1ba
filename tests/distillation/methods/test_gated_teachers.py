from typing import Any, ClassVar

from distilrec.distillation.methods import GatedTeachers
from distilrec.testing import MethodContract


class TestGatedTeachers(MethodContract):
    method = GatedTeachers()
    record: ClassVar[dict[str, Any]] = {"filter_seen": False}
