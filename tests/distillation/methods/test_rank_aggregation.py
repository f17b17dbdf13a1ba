from pathlib import Path

import pytest

from distilrec.data import Split, final_queries
from distilrec.distillation.methods import RankAggregation
from distilrec.errors import SoftLabelError
from distilrec.soft_labels import RecordConfig, record
from distilrec.testing import ClusterTeacher, MethodContract


class TestRankAggregation(MethodContract):
    method = RankAggregation(pool=10, interesting=8)

    def test_members_of_other_queries_are_refused(self, data: Split, tmp_path: Path) -> None:
        """Prevents a member that is silently never asked, since nothing of it was recorded for this student."""
        queries, ids = final_queries(data.train)
        elsewhere = record(
            ClusterTeacher(data.log.n_items, 4), queries, ids + 1000, tmp_path / "elsewhere", RecordConfig(k=12),
            seed=0, data_fingerprint="data", teacher_fingerprint="clusters",
        )  # fmt: skip
        labels = self.labels(data, tmp_path, False)
        with pytest.raises(SoftLabelError, match=r"elsewhere: holds none of the student's"):
            self.distil(self.student(data, False), data, labels, members={"a": (labels,), "b": (elsewhere,)})
