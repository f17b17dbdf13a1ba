"""Two libraries must be compared on the same data, by the same measure, and over the same time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import training
from benchmarks.side_by_side import Course, Ours, Theirs, in_turn, judge, last_items, our_course, quality, table
from distilrec.data import LeaveLastOut, Split, clusters, split
from distilrec.models import MatrixFactorizationConfig, Supervision
from distilrec.ranking import rank
from distilrec.training import TrainingConfig

OURS = Ours(
    MatrixFactorizationConfig(embedding_size=4), Supervision(loss="bpr"), TrainingConfig(epochs=3, batch_size=64)
)


@pytest.fixture(scope="module")
def data() -> Split:
    return split(clusters(n_users=30, n_items=24, n_clusters=2).interactions, LeaveLastOut())


class Fake:
    """A peer whose validation gets better for two epochs, then worse; each epoch takes two seconds."""

    def __init__(self, data: Split, finish: int = 99) -> None:
        self.data, self.finish, self.epoch = data, finish, 0

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        if do == "train":
            self.epoch += 1
            return {"seconds": 2.0, "finished": self.epoch < self.finish}
        if do == "lists":
            queries, targets = self.data.queries(request["part"])
            place = {1: 3, 2: 0}.get(self.epoch, 5)
            lists = np.full((len(queries), 11), -1)
            lists[:, 0], lists[:, 1 + place] = queries.users, targets.values[targets.starts]
            np.save(request["path"], lists[::-1])
        return {"seconds": 1.0}


def theirs(data: Split, folder: Path, seconds: float = 99.0, finish: int = 99) -> Theirs:
    return Theirs(Fake(data, finish), data, folder, seconds)  # type: ignore[arg-type]


def test_peers_get_every_interaction_and_our_split(data: Split) -> None:
    rows = table(data)
    assert len(rows) == len(data.log)
    assert (np.bincount(rows[:, 3], minlength=3) == [len(data.train), *2 * [data.log.n_users]]).all()
    last = rows[rows[:, 3] == 2]
    assert (last[:, 2] == data.log.histories.lengths - 1).all()


def test_their_lists_are_judged_as_our_scores_are(data: Split) -> None:
    """Two measures that differ in ties, masks or order of users would decide the race."""
    model = OURS.built(data, 0)
    queries, _ = data.queries("test")
    lists = np.column_stack([queries.users, rank(model, queries, 10)[0]])
    assert judge(lists[::-1], data, "test") == pytest.approx(quality(model, data, "test"), abs=1e-12)
    with pytest.raises(ValueError, match="users of the test part"):
        judge(lists[1:], data, "test")


def test_the_last_items_are_those_that_rectools_reads(data: Split) -> None:
    cut = last_items(data, 3)
    assert cut.train.histories.lengths.tolist() == np.minimum(data.train.histories.lengths, 3).tolist()
    assert (cut.train.histories.stops == data.train.histories.stops).all()
    assert (cut.queries("test")[1].flat()[1] == data.queries("test")[1].flat()[1]).all()


def test_time_counts_until_the_quality_is_reached_first() -> None:
    course = Course([1.0, 2.0, 4.0], [0.1, 0.3, 0.2], test=0.5)
    assert course.seconds_until(0.15) == 3.0
    assert course.seconds_until(0.31) is None
    assert (course.best, course.waited()) == (0.3, 1)
    assert course.detail()["best_epoch"] == 2


def test_a_peer_stops_early_and_is_tested_at_its_best(data: Split, tmp_path: Path) -> None:
    peer = theirs(data, tmp_path)
    peer.to_the_end(epochs=50, patience=3)
    assert peer.course.seconds == [3.0] * 5
    assert peer.course.test == peer.course.best == 1.0


def test_a_peer_out_of_time_counts_as_it_stands(data: Split, tmp_path: Path) -> None:
    """A peer whose first epoch doesn't end in time still has a quality and a time."""
    broken = theirs(data, tmp_path, finish=1)
    broken.to_the_end(epochs=50, patience=9)
    assert (len(broken.course.seconds), broken.broken_off) == (1, True)
    late = theirs(data, tmp_path, seconds=5.0)
    late.to_the_end(epochs=50, patience=9)
    assert len(late.course.seconds) == 2


def test_epochs_are_timed_without_warm_up_and_validation(data: Split) -> None:
    seconds = iter([50.0, 1.0, 2.0, 60.0])
    found = in_turn(OURS, OURS.built(data, 0), data, lambda: next(seconds), rounds=2)
    assert found["seconds"]["theirs"] == [1.0, 2.0]
    assert len(found["seconds"]["ours"]) == 2
    assert found["speedup"] == 1.5 / found["medians"]["ours"]


def test_our_course_is_validated_after_each_epoch(data: Split) -> None:
    course = our_course(OURS, data, seed=0)
    assert len(course.seconds) == len(course.validation) == 3
    assert course.test > 0


def test_a_run_goes_on_and_sums_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell takes up to half an hour: measured twice, or lost with the run, it would cost that again."""
    measured: list[str] = []

    def note(cell: training.Cell, budget: training.Budget) -> training.Found:
        measured.append(cell.name)
        found = {"epoch_speedup": 2.0, "time_to_quality_speedup": 3.0 if cell.data == "ml-1m" else 4.0}
        return found, {"minutes": budget.minutes}

    monkeypatch.setattr(training, "measure", note)
    training.main(["--out", str(tmp_path), "--only", "bpr.ml-1m.recbole"])
    assert measured == ["bpr.ml-1m.recbole"]
    assert not (tmp_path / "training.json").exists()
    training.main(["--out", str(tmp_path), "--minutes", "7"])
    assert sorted(measured) == sorted(cell.name for cell in training.CELLS)
    result = json.loads((tmp_path / "training.json").read_text(encoding="utf-8"))
    assert result["figures"] == {
        "bpr_epoch_speedup_vs_recbole": 2.0,
        "bpr_time_to_quality_speedup_vs_recbole": 3.0,
        "sasrec_time_to_quality_speedup_vs_recbole": 3.0,
        "sasrec_epoch_speedup_vs_rectools": 2.0,
    }
    assert result["detail"]["als.ml-1m.implicit"]["detail"] == {"minutes": 7.0}
