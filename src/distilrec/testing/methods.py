"""What every distillation method owes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from distilrec import training as training_module
from distilrec.data import (
    Split,
    clusters,
    final_queries,
    prefix_queries,
)
from distilrec.distillation import DistillationConfig, distil
from distilrec.distillation.method import Method, Setting, Step
from distilrec.errors import SoftLabelError
from distilrec.models import (
    DotProductModel,
    HistoryEncoderConfig,
    MatrixFactorizationConfig,
    Supervision,
    build,
    fit,
)
from distilrec.rng import generator
from distilrec.scoring import Queries
from distilrec.soft_labels import RecordConfig, SoftLabels, record
from distilrec.testing._shared import (
    close,
    global_generators,
    hit_rate,
    leave_last_out,
)
from distilrec.training import Epoch, TrainingConfig

__all__ = ["ClusterTeacher", "MethodContract"]


class ClusterTeacher:
    """A perfect teacher of `clusters`: it knows each user's cluster, and gives score 4 to its items, 0 to others."""

    scores_are_logits = True

    def __init__(self, n_items: int, n_clusters: int) -> None:
        self.n_items = n_items
        self.width = n_clusters

    def hidden(self, queries: Queries) -> Tensor:
        """(B, D) float32."""
        return 2 * torch.eye(self.width)[torch.from_numpy(queries.users).long() % self.width]

    def item_vectors(self) -> Tensor:
        """(N, D) float32."""
        return 2 * torch.eye(self.width)[torch.arange(self.n_items) % self.width]

    def item_bias(self) -> Tensor | None:
        """None."""
        return None

    def score(self, queries: Queries) -> Tensor:
        """(B, N) float32."""
        return self.hidden(queries) @ self.item_vectors().T


class MethodContract:
    """What every distillation method owes, for students that look users up and, unless it can't, that read histories.

    method: with settings that fit 40 items in four clusters. record: settings of the recording. training: should take
    about a second. least_gain: by how much hit rate@6 must exceed that of the student alone, of three training items
    per user; the teacher's is 1. weighed: whether a query whose sample weight is 0 gives its state no gradient.
    """

    method: ClassVar[Method]
    record: ClassVar[dict[str, Any]] = {}
    training: ClassVar[TrainingConfig] = TrainingConfig(epochs=60, evaluate_every=10, batch_size=16, learning_rate=0.05)
    alpha: ClassVar[float] = 0.8
    least_gain: ClassVar[float] = 0.15
    weighed: ClassVar[bool] = True

    @pytest.fixture(params=[False, True], ids=["vectors", "histories"])
    def reads_histories(self, request: pytest.FixtureRequest) -> bool:
        """The kind of student."""
        if request.param and "users" in self.method.needs:
            pytest.skip("this method needs a student that looks users up")
        return bool(request.param)

    @pytest.fixture
    def data(self) -> Split:
        """Sixteen users with three training items each."""
        return leave_last_out(clusters(n_users=16, n_items=40, n_clusters=4, length=5))

    def labels(
        self, data: Split, folder: Path, reads_histories: bool, every: int = 1, n_clusters: int = 4, **settings: Any
    ) -> SoftLabels:
        """The teacher's store, of every so manieth query; with fewer clusters, of a teacher that knows less."""
        queries, ids = prefix_queries(data.train, 4) if reads_histories else final_queries(data.train)
        return record(
            ClusterTeacher(data.log.n_items, n_clusters),
            queries[::every],
            ids[::every],
            folder / f"labels-{len(list(folder.iterdir()))}",
            RecordConfig(**{"k": 12, "tail": 20, **self.record, **settings}),
            seed=0,
            data_fingerprint="data",
            teacher_fingerprint="clusters",
        )

    def members(
        self, data: Split, folder: Path, reads_histories: bool, every: int = 1
    ) -> dict[str, tuple[SoftLabels, ...]]:
        """Two members of the teacher, one of which knew less at first; none for methods that don't need them."""
        if "members" not in self.method.needs:
            return {}
        early, final = (self.labels(data, folder, reads_histories, every, n) for n in (2, 4))
        return {"learned": (early, final), "known": (final,)}

    def student(self, data: Split, reads_histories: bool) -> DotProductModel:
        """Untrained, always with the same weights."""
        kinds = {True: HistoryEncoderConfig(embedding_size=8, heads=2, history_length=4),
                 False: MatrixFactorizationConfig(embedding_size=8)}  # fmt: skip
        model = build(kinds[reads_histories], data.train.n_users, data.train.n_items, seed=0)
        assert isinstance(model, DotProductModel)
        return model

    def distil(self, student: DotProductModel, data: Split, labels: SoftLabels, **options: Any) -> list[Epoch]:
        """Train with the method."""
        training, supervision = options.pop("training", self.training), Supervision()
        config = DistillationConfig(alpha=self.alpha, methods=(self.method,))
        return distil(student, data, labels, config, supervision, training, seed=0, **options)

    def test_it_teaches(self, data: Split, tmp_path: Path, reads_histories: bool) -> None:
        """Prevents a method that is wired wrongly, which looks like the student alone, whatever its loss says."""
        alone, taught = (self.student(data, reads_histories) for _ in range(2))
        fit(alone, data, Supervision(), self.training, seed=0)
        labels = self.labels(data, tmp_path, reads_histories)
        curve = self.distil(taught, data, labels, members=self.members(data, tmp_path, reads_histories))
        assert curve[-1].losses["loss"] < curve[0].losses["loss"]
        assert hit_rate(taught, data, 6) >= hit_rate(alone, data, 6) + self.least_gain

    def test_interrupted_it_goes_on_to_the_same_bytes(
        self, data: Split, tmp_path: Path, reads_histories: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Prevents a state that is kept outside of the checkpoint, and randomness that nobody can repeat."""
        monkeypatch.setattr(training_module, "CHECKPOINT_SECONDS", -1.0)
        labels, settings = self.labels(data, tmp_path, reads_histories), {"epochs": 4, "evaluate_every": 1}
        training = self.training.model_copy(update=settings)
        members = self.members(data, tmp_path, reads_histories)
        whole, parts = (self.student(data, reads_histories) for _ in range(2))
        generators = global_generators()
        self.distil(whole, data, labels, members=members, training=training)
        assert global_generators() == generators

        def stop(epoch: Epoch) -> None:
            if epoch.number == 3:
                raise KeyboardInterrupt

        checkpoint = tmp_path / "checkpoint.safetensors"
        with pytest.raises(KeyboardInterrupt):
            self.distil(parts, data, labels, members=members, training=training, checkpoint=checkpoint, on_epoch=stop)
        parts = self.student(data, reads_histories)
        self.distil(parts, data, labels, members=members, training=training, checkpoint=checkpoint)
        assert all(torch.equal(value, parts.state_dict()[name]) for name, value in whole.state_dict().items())

    def test_queries_without_soft_labels(self, data: Split, tmp_path: Path, reads_histories: bool) -> None:
        """Prevents zeros that stand for what the teacher wasn't asked from being learned as its opinion, or NaN."""
        labels = self.labels(data, tmp_path, reads_histories, every=3)
        members = self.members(data, tmp_path, reads_histories, every=3)
        student, training = self.student(data, reads_histories), self.training.model_copy(update={"epochs": 3})
        curve = self.distil(student, data, labels, members=members, training=training)
        assert np.isfinite(curve[-1].losses["loss"])

    def test_a_query_without_weight_says_nothing(self, data: Split, tmp_path: Path, reads_histories: bool) -> None:
        """Prevents sample weights that stop at the true labels, and a mean that isn't one where all weigh 3."""
        labels = self.labels(data, tmp_path, reads_histories)
        members = self.members(data, tmp_path, reads_histories)
        student = self.student(data, reads_histories)
        term = self.method.term(Setting(student, data.train, labels, 0, members))
        if term is None:
            pytest.skip("built into the training loop, and tested there")
        batch = next(iter(student.batches(data.train, Supervision(), 16).epoch(generator(0, "batch"))))
        rows, hidden = labels.rows(batch.query_ids), student.encode(batch).detach().requires_grad_()

        def asked(weights: Tensor) -> tuple[Tensor, Tensor]:
            soft, rng = labels.batch(rows), generator(0, "step")
            loss = term(Step(student, labels, batch, hidden, rows, soft, weights, 1, rng, members))
            return loss.detach(), torch.autograd.grad(loss, hidden, allow_unused=True, materialize_grads=True)[0]

        some = torch.arange(len(rows)) % 2 == 0
        loss, gradient = asked(torch.ones(len(rows)))
        close(asked(torch.full((len(rows),), 3.0))[0], loss)
        if self.weighed:
            weighed = asked(some.float())[1]
            assert not bool(weighed[~some].any())
            assert bool(weighed[some].any()) == bool(gradient[some].any())

    def test_what_it_needs_is_missed_before_training(self, data: Split, tmp_path: Path) -> None:
        """Prevents an error in the first step, after an hour of preparation."""
        poor = self.labels(data, tmp_path, False, kind="topk", hidden=False)
        if set(self.method.needs) & {"scores", "hidden", "item_vectors", "members"}:
            with pytest.raises(SoftLabelError, match=f"'{self.method.name}' needs"):
                self.method.check(Setting(self.student(data, False), data.train, poor, 0))
        if "users" in self.method.needs:
            with pytest.raises(SoftLabelError, match="looks users up"):
                self.method.check(Setting(self.student(data, True), data.train, self.labels(data, tmp_path, False), 0))

    def test_recipes_know_its_name(self) -> None:
        """Prevents a method that can be had from Python only, or whose settings a recipe loses."""
        config = DistillationConfig(methods=(self.method,))
        assert DistillationConfig.model_validate_json(config.model_dump_json()) == config
