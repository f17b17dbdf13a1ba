from typing import ClassVar

from distilrec.distillation.methods import CD
from distilrec.testing import MethodContract


class TestCD(MethodContract):
    """The teacher's scores are 4 and 0: log-odds of 2 and -2 after the shift."""

    method = CD(items=10, sampled=30, sharpness=0.5, temperature=1, shift=-2)
    record: ClassVar = {"kind": "factored"}


class TestCDOfAFullStore(MethodContract):
    """Such a store has no score of what was seen, here of a sample of all items."""

    method = CD(items=10, sharpness=0.5, temperature=1, shift=-2)
    record: ClassVar = {"kind": "full"}
