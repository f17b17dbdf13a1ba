from pathlib import Path

import pytest

from distilrec.data import Split
from distilrec.distillation import DistillationConfig, distil
from distilrec.distillation.methods import HetComp
from distilrec.errors import SoftLabelError
from distilrec.models import Supervision
from distilrec.testing import MethodContract


class TestHetComp(MethodContract):
    method = HetComp(pool=10, compared=6, every=2)

    def test_a_pool_of_all_items_is_refused(self, data: Split, tmp_path: Path) -> None:
        """Nothing would come below it: the loss would be zero in every epoch, without a word."""
        config = DistillationConfig(methods=(HetComp(pool=40, compared=6),))
        labels, members = self.labels(data, tmp_path, False), self.members(data, tmp_path, False)
        with pytest.raises(SoftLabelError, match="pool of 40 holds all 40 items"):
            distil(
                self.student(data, False), data, labels, config, Supervision(), self.training, seed=0, members=members
            )
