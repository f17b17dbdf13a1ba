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

from distilrec.data import Dataset, Interactions, LeaveLastOut, Split, clusters, cycles, split
from distilrec.errors import SoftLabelError
from distilrec.models import (
    ClosedForm,
    DotProductModel,
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
from distilrec.training import TrainingConfig

__all__ = ["DotProductContract", "LossContract", "MetricContract", "ModelContract", "SequenceContract", "UserContract"]

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
