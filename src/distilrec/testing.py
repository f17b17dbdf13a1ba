"""Contract tests: subclass one, set its attributes, and pytest runs what every model, loss or metric owes.

```python
class TestMine(ModelContract):
    config = MatrixFactorizationConfig(embedding_size=8)
```
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from distilrec import training as training_module
from distilrec.data import (
    Dataset,
    Interactions,
    LeaveLastOut,
    Split,
    clusters,
    cycles,
    final_queries,
    prefix_queries,
    split,
)
from distilrec.distillation import DistillationConfig, distil
from distilrec.distillation.method import Method, Setting
from distilrec.errors import SoftLabelError
from distilrec.models import (
    ClosedForm,
    DotProductModel,
    HistoryEncoderConfig,
    MatrixFactorizationConfig,
    Model,
    ModelConfig,
    Popularity,
    PopularityConfig,
    Precision,
    SequenceModel,
    Supervision,
    build,
    fit,
    load_model,
    quantize_,
    save_model,
)
from distilrec.ranking import evaluate
from distilrec.rng import generator
from distilrec.scoring import Queries, Ragged
from distilrec.soft_labels import RecordConfig, SoftLabels, record
from distilrec.training import Epoch, TrainingConfig

__all__ = [
    "ClusterTeacher",
    "DotProductContract",
    "LossContract",
    "MethodContract",
    "MetricContract",
    "ModelContract",
    "SequenceContract",
    "UserContract",
]

# The largest error of a score, as a share of the spread of all scores.
ROUNDING: dict[Precision, float] = {"float32": 0.0, "float16": 0.005, "int8": 0.05, "pq": 1.0}


class ModelContract:
    """What every model owes.

    config: of the model. supervision, training: of models that are trained by gradient steps; training should
    take less than a second. least_gain: by how much hit rate@3 on the clusters must exceed that of popularity.
    A model that `build` doesn't know overrides `make`.
    """

    config: ClassVar[ModelConfig]
    supervision: ClassVar[Supervision] = Supervision()
    training: ClassVar[TrainingConfig] = TrainingConfig(epochs=20, evaluate_every=5, batch_size=64, learning_rate=0.05)
    least_gain: ClassVar[float] = 0.5

    def make(self, data: Split, *, training: TrainingConfig | None = None) -> Model:
        """A trained model, the same one for the same data."""
        model = build(self.config, data.train.n_users, data.train.n_items, seed=0)
        if isinstance(model, ClosedForm):
            model.fit(data.train)
        elif isinstance(model, DotProductModel):
            fit(model, data, self.supervision, training or self.training, seed=0)
        return model

    @pytest.fixture
    def data(self) -> Split:
        """Clusters of items, each user in one of them."""
        return _leave_last_out(clusters())

    @pytest.fixture
    def model(self, data: Split) -> Model:
        """Trained on `data`, once for each class."""
        cached = type(self).__dict__.get("_trained")
        if cached is None:
            cached = self.make(data)
            type(self)._trained = cached  # type: ignore[attr-defined]
        assert isinstance(cached, Model)
        return cached

    def test_scores_are_finite_and_the_callers_own(self, model: Model, data: Split) -> None:
        """Prevents NaN in the lists, and a mask that is written into the model."""
        first = _scores(model, _queries(data))
        assert first.shape == (len(_queries(data)), data.log.n_items)
        assert first.dtype == torch.float32
        assert bool(first.isfinite().all())
        kept = first.clone()
        first.fill_(torch.nan)
        assert torch.equal(_scores(model, _queries(data)), kept)

    def test_same_seed_same_bytes(self, model: Model, data: Split) -> None:
        """Prevents results that nobody can repeat."""
        again = self.make(data).state_dict()
        assert again.keys() == model.state_dict().keys()
        assert all(torch.equal(value, again[name]) for name, value in model.state_dict().items())

    def test_global_generators_are_untouched(self, data: Split) -> None:
        """Prevents a model from changing what comes after it."""
        before = _global_generators()
        self.make(data, training=self.training.model_copy(update={"epochs": 1}))
        assert _global_generators() == before

    def test_unknown_users_and_empty_histories_are_served(self, model: Model, data: Split) -> None:
        """Prevents a crash, or the answer of the last user, for whoever is new."""
        cold = Queries(np.full(2, -1, np.int32), Ragged.from_rows([[], [1, 2]]))
        scores = _scores(model, cold)
        assert bool(scores.isfinite().all())
        last = Queries(np.array([data.log.n_users - 1], np.int32), Ragged.from_rows([[]]))
        if not model.reads_histories and not isinstance(model, Popularity):
            assert not torch.equal(scores[0], _scores(model, last)[0])

    def test_what_is_looked_up_and_what_is_read(self, model: Model, data: Split) -> None:
        """Prevents a wrong `reads_histories`, by which queries are recorded and reported."""
        queries = _queries(data)
        strangers = replace(queries, users=np.full(len(queries), -1, np.int32))
        forgetful = replace(queries, histories=Ragged.from_rows([[0]] * len(queries)))
        scores = _scores(model, queries)
        if model.reads_histories:
            _close(_scores(model, strangers), scores)
            assert not torch.allclose(_scores(model, forgetful), scores, atol=1e-4)
        else:
            assert torch.equal(_scores(model, forgetful), scores)

    def test_a_query_does_not_depend_on_its_batch(self, model: Model, data: Split) -> None:
        """Prevents padding, or a neighbour in the batch, from leaking into a score."""
        queries = _queries(data)
        scores = _scores(model, queries)
        order = generator(0, "order").permutation(len(queries))
        _close(_scores(model, queries[order]), scores[torch.from_numpy(order)])
        alone = torch.cat([_scores(model, queries[n : n + 1]) for n in range(len(queries))])
        _close(alone, scores)
        assert _scores(model, queries[:0]).shape == (0, data.log.n_items)

    def test_saved_and_loaded_it_scores_the_same(self, model: Model, data: Split, tmp_path: Path) -> None:
        """Prevents a weight that is trained but not saved, and rounding that ruins what was measured."""
        queries = _queries(data)
        scores = _scores(model, queries)
        sizes = []
        for precision, most in ROUNDING.items():
            folder = tmp_path / precision
            sizes.append(save_model(model, folder, precision))
            loaded = load_model(folder)
            assert (loaded.n_users, loaded.n_items) == (model.n_users, model.n_items)
            off = float((_scores(loaded, queries) - scores).abs().max())
            assert off <= most * float(scores.max() - scores.min()), (precision, off)
            rounded = _scores(quantize_(load_model(tmp_path / "float32"), precision), queries)
            assert torch.equal(rounded, _scores(loaded, queries)), precision
        assert sizes[1] < sizes[0]
        assert sizes[2] <= sizes[1]

    def test_never_reads_what_is_held_out(self, data: Split) -> None:
        """Prevents training on validation or test items. One epoch, since validation chooses between them."""
        values = data.log.histories.values.copy()
        held_out = data.part > 0
        values[held_out] = (values[held_out] + 1) % data.log.n_items
        histories = replace(data.log.histories, values=values)
        altered = Split(replace(data.log, histories=histories), data.part)
        one = self.training.model_copy(update={"epochs": 1})
        models = [self.make(each, training=one) for each in (data, altered)]
        assert torch.equal(*(_scores(model, _queries(data)) for model in models))

    def test_learns_clusters(self, model: Model, data: Split) -> None:
        """Prevents a model that trains without error and learns nothing."""
        assert _hit_rate(model, data, 3) >= _popularity(data, 3) + self.least_gain


class DotProductContract(ModelContract):
    """What models with query and item vectors owe besides."""

    def test_a_trained_model_is_in_serving_mode(self, model: Model) -> None:
        """Prevents dropout in evaluation."""
        assert not any(module.training for module in model.modules())

    def test_a_score_is_a_dot_product(self, model: Model, data: Split) -> None:
        """Prevents a store of kind `factored`, or an index of item vectors, from answering otherwise."""
        assert isinstance(model, DotProductModel)
        with torch.inference_mode():
            hidden, bias = model.hidden(_queries(data)), model.item_bias()
            assert hidden.shape == (len(_queries(data)), model.width)
            product = hidden @ model.item_vectors().T + (0.0 if bias is None else bias)
        _close(product, _scores(model, _queries(data)))


class UserContract(DotProductContract):
    """What models with user vectors owe besides."""

    def test_users_without_history_are_answered_as_popularity_does(self) -> None:
        """Prevents a random first vector, which nothing has trained, from being served as a user's taste."""
        rng, popularity = generator(0, "popularity"), np.arange(1, 41) / 820
        rows = [rng.choice(40, 8, replace=False, p=popularity).tolist() if user >= 5 else [] for user in range(60)]
        data = _leave_last_out(replace(clusters(), interactions=Interactions(Ragged.from_rows(rows), n_items=40)))
        model = self.make(data)
        assert isinstance(model, DotProductModel)
        users = np.array([-1, 0, 4, *range(5, 60)], np.int32)
        with torch.inference_mode():
            hidden = model.hidden(Queries(users, Ragged.from_rows([[]] * len(users))))
            torch.testing.assert_close(hidden[:3], hidden[3:].mean(0).expand(3, -1))
            scores = _scores(model, Queries(users[1:2], Ragged.from_rows([[]])))[0].numpy()
        assert np.corrcoef(scores, np.log(data.train.item_counts() + 0.5))[0, 1] > 0.7


class SequenceContract(DotProductContract):
    """What models that read histories in order owe besides."""

    def test_the_future_changes_nothing(self, model: Model) -> None:
        """Prevents a state that has seen its own target, which training would mistake for skill."""
        assert isinstance(model, SequenceModel)
        items = torch.arange(model.history_length) * 7 % model.n_items
        now = (len(items) + 1) // 2
        other, padded = items.clone(), items.clone()
        other[now:], padded[now:] = items[now:].flip(0), -1
        with torch.inference_mode():
            known = model.states(items[None, :now])[0]
            for states in model.states(torch.stack([items, other, padded])):
                _close(states[:now], known)

    def test_prefixes_in_one_pass_equal_each_alone(self, model: Model) -> None:
        """Prevents the states of a recording from differing from those of serving."""
        assert isinstance(model, SequenceModel)
        length = model.history_length
        items = (np.arange(2 * length + 3) * 7 % model.n_items).astype(np.int32)
        stops = np.arange(len(items) + 1)
        together = Ragged(np.zeros(len(stops), np.int64), stops, items)
        nobody = np.full(len(stops), -1, np.int32)
        with torch.inference_mode():
            hidden = model.hidden(Queries(nobody, together))
            for n, stop in enumerate(stops):
                rows = Ragged.from_rows([items[max(0, stop - length) : stop].tolist()])
                _close(model.hidden(Queries(nobody[:1], rows))[0], hidden[n])

    def test_learns_what_comes_next(self) -> None:
        """Prevents a model of sequences that only counts items, by which nothing can be foretold here."""
        data = _leave_last_out(cycles())
        assert _hit_rate(self.make(data), data, 1) >= max(0.9, _popularity(data, 1) + 0.5)


class LossContract:
    """What every loss on a student's and a teacher's scores owes. loss: as a staticmethod."""

    loss: ClassVar[Callable[[Tensor, Tensor, Tensor], Tensor]]

    def value(self, student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The loss and the gradient at the student's scores."""
        student = student.detach().clone().requires_grad_()
        everything = torch.ones(student.shape, dtype=torch.bool)
        loss = type(self).loss(student, teacher, everything if mask is None else mask)
        assert loss.shape == ()
        (gradient,) = torch.autograd.grad(loss, student)
        return loss.detach(), gradient

    @pytest.fixture
    def scores(self) -> tuple[Tensor, Tensor]:
        """Student's and teacher's, (4, 6)."""
        rng = torch.Generator().manual_seed(0)
        return torch.randn(4, 6, generator=rng), torch.randn(4, 6, generator=rng)

    def test_agreement_costs_less_than_contradiction(self, scores: tuple[Tensor, Tensor]) -> None:
        """Prevents a loss whose sign is turned."""
        _, teacher = scores
        assert self.value(teacher, teacher)[0] < self.value(-teacher, teacher)[0]

    def test_it_is_a_mean(self, scores: tuple[Tensor, Tensor]) -> None:
        """Prevents lambda from depending on the size of the batch."""
        student, teacher = scores
        twice = self.value(student.repeat(2, 1), teacher.repeat(2, 1))[0]
        torch.testing.assert_close(twice, self.value(student, teacher)[0])

    def test_masked_candidates_have_no_say(self, scores: tuple[Tensor, Tensor]) -> None:
        """Prevents padding from entering the sums; what stands there may be NaN."""
        student, teacher = scores
        mask = torch.ones(4, 6, dtype=torch.bool)
        mask[:, 4:] = False
        expected, inside = self.value(student[:, :4], teacher[:, :4])
        for filler in (0.0, 1e9, torch.nan):
            loss, gradient = self.value(student, teacher.masked_fill(~mask, filler), mask)
            torch.testing.assert_close(loss, expected)
            torch.testing.assert_close(gradient[:, :4], inside)
            assert bool((gradient[:, 4:] == 0).all())

    def test_degenerate_rows(self, scores: tuple[Tensor, Tensor]) -> None:
        """Prevents NaN from rows without candidates, with one only, with ties, and from extreme scores."""
        student, teacher = scores
        none = torch.zeros(4, 6, dtype=torch.bool)
        loss, gradient = self.value(student, teacher, none)
        assert loss == 0
        assert bool((gradient == 0).all())
        none[:, 0] = True
        for case in (
            self.value(student, teacher, none),
            self.value(student, torch.zeros(4, 6)),
            self.value(torch.zeros(4, 6), teacher),
            self.value(student * 1e4, -teacher * 1e4),
        ):
            assert all(bool(part.isfinite().all()) for part in case)

    def test_the_teacher_gets_no_gradient(self, scores: tuple[Tensor, Tensor]) -> None:
        """Prevents the teacher from moving towards its student."""
        student, teacher = (part.clone().requires_grad_() for part in scores)
        type(self).loss(student, teacher, torch.ones(4, 6, dtype=torch.bool)).backward()  # type: ignore[no-untyped-call]
        assert teacher.grad is None

    def test_arguments_that_do_not_fit_are_refused(self, scores: tuple[Tensor, Tensor]) -> None:
        """Prevents broadcasting, and a student that learns NaN."""
        student, teacher = scores
        with pytest.raises(ValueError, match="expected"):
            self.value(student, teacher[:, :1])
        with pytest.raises(SoftLabelError, match="NaN"):
            self.value(student, teacher.where(teacher > teacher.min(), torch.nan))


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
    per user; the teacher's is 1.
    """

    method: ClassVar[Method]
    record: ClassVar[dict[str, Any]] = {}
    training: ClassVar[TrainingConfig] = TrainingConfig(epochs=60, evaluate_every=10, batch_size=16, learning_rate=0.05)
    alpha: ClassVar[float] = 0.8
    least_gain: ClassVar[float] = 0.15

    @pytest.fixture(params=[False, True], ids=["vectors", "histories"])
    def reads_histories(self, request: pytest.FixtureRequest) -> bool:
        """The kind of student."""
        if request.param and "users" in self.method.needs:
            pytest.skip("this method needs a student that looks users up")
        return bool(request.param)

    @pytest.fixture
    def data(self) -> Split:
        """Sixteen users with three training items each."""
        return _leave_last_out(clusters(n_users=16, n_items=40, n_clusters=4, length=5))

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
        assert _hit_rate(taught, data, 6) >= _hit_rate(alone, data, 6) + self.least_gain

    def test_interrupted_it_goes_on_to_the_same_bytes(
        self, data: Split, tmp_path: Path, reads_histories: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Prevents a state that is kept outside of the checkpoint, and randomness that nobody can repeat."""
        monkeypatch.setattr(training_module, "CHECKPOINT_SECONDS", -1.0)
        labels, settings = self.labels(data, tmp_path, reads_histories), {"epochs": 4, "evaluate_every": 1}
        training = self.training.model_copy(update=settings)
        members = self.members(data, tmp_path, reads_histories)
        whole, parts = (self.student(data, reads_histories) for _ in range(2))
        generators = _global_generators()
        self.distil(whole, data, labels, members=members, training=training)
        assert _global_generators() == generators

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


class MetricContract:
    """What every top-K metric owes. metric: (hits (B, K), n_relevant (B,), k) -> (B,), as a staticmethod."""

    metric: ClassVar[Callable[[NDArray[np.bool_], NDArray[np.integer[Any]], int], NDArray[np.float64]]]

    def value(self, row: list[int], n_relevant: int, k: int | None = None) -> float:
        """The metric of one list."""
        hits = np.array([row], dtype=np.bool_)
        values = type(self).metric(hits, np.array([n_relevant]), k or len(row))
        assert values.shape == (1,)
        assert values.dtype == np.float64
        return float(values[0])

    def test_bounds(self) -> None:
        """Prevents a perfect list from scoring less than 1, and one query without targets from being NaN."""
        assert self.value([1, 1, 1], 3) == pytest.approx(1.0)
        assert self.value([0, 0, 0], 3) == 0.0
        assert self.value([0, 0, 0], 0) == 0.0

    def test_one_value_per_query(self) -> None:
        """Prevents a mean within the batch, which would weigh queries by their batch."""
        hits = generator(0, "hits").random((5, 4)) < 0.4
        relevant = hits.sum(1) + 1
        together = type(self).metric(hits, relevant, 4)
        alone = [self.value(list(map(int, row)), int(n)) for row, n in zip(hits, relevant, strict=True)]
        np.testing.assert_allclose(together, alone)
        assert bool(((together >= 0) & (together <= 1)).all())

    def test_better_lists_score_no_less(self) -> None:
        """Prevents a reversed discount; what lies beyond k has no say."""
        assert self.value([1, 0, 0, 0], 2) >= self.value([0, 0, 1, 0], 2)
        assert self.value([1, 1, 0, 0], 2) > self.value([0, 0, 0, 0], 2)
        assert self.value([0, 1, 1, 1], 3, 2) == self.value([0, 1, 0, 0], 3, 2)

    def test_arguments_that_do_not_fit_are_refused(self) -> None:
        """Prevents a list that is shorter than its cut-off from being counted as if it were long."""
        with pytest.raises(ValueError, match="cut-off"):
            self.value([1, 0], 1, 3)


def _global_generators() -> tuple[Any, ...]:
    return random.getstate(), repr(np.random.get_state(legacy=False)), torch.get_rng_state().tolist()  # noqa: NPY002


def _close(given: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-4)


def _leave_last_out(data: Dataset) -> Split:
    return split(data.interactions, LeaveLastOut())


def _queries(data: Split) -> Queries:
    """Five known users with their histories, and strangers with a long, a short and no history."""
    known, _ = data.queries("test")
    rows = [known.histories[n : n + 1].flat()[1].tolist() for n in range(5)] + [
        [9, 4, 6, 1, 0, 2, 8],
        [3],
        [],
    ]
    return Queries(np.array([0, 1, 2, 3, 4, -1, -1, -1], np.int32), Ragged.from_rows(rows))


def _scores(model: Model, queries: Queries) -> Tensor:
    with torch.no_grad():
        return model.score(queries)


def _hit_rate(model: Model, data: Split, k: int) -> float:
    return float(evaluate(model, *data.queries("test"), [f"hit_rate@{k}"])[f"hit_rate@{k}"].mean())


def _popularity(data: Split, k: int) -> float:
    model = Popularity(PopularityConfig(), data.train.n_users, data.train.n_items)
    model.fit(data.train)
    return _hit_rate(model, data, k)
