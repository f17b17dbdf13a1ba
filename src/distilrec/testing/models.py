"""What every model owes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from distilrec.data import (
    Interactions,
    Split,
    clusters,
    cycles,
)
from distilrec.export import BundleIds, write_bundle
from distilrec.models import (
    ClosedForm,
    DotProductModel,
    Model,
    ModelConfig,
    Popularity,
    SequenceModel,
    Supervision,
    build,
    fit,
    load_model,
    quantize_,
    save_model,
)
from distilrec.ranking import Restricted, rank
from distilrec.rng import generator
from distilrec.runtime import Served
from distilrec.scoring import Queries, Ragged
from distilrec.testing._shared import (
    close,
    global_generators,
    hit_rate,
    leave_last_out,
    popularity_hit_rate,
    scores_of,
    some_queries,
)
from distilrec.training import TrainingConfig
from distilrec.weights import Precision

__all__ = ["DotProductContract", "ModelContract", "SequenceContract", "UserContract"]


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
        return leave_last_out(clusters())

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
        first = scores_of(model, some_queries(data))
        assert first.shape == (len(some_queries(data)), data.log.n_items)
        assert first.dtype == torch.float32
        assert bool(first.isfinite().all())
        kept = first.clone()
        first.fill_(torch.nan)
        assert torch.equal(scores_of(model, some_queries(data)), kept)

    def test_same_seed_same_bytes(self, model: Model, data: Split) -> None:
        """Prevents results that nobody can repeat."""
        again = self.make(data).state_dict()
        assert again.keys() == model.state_dict().keys()
        assert all(torch.equal(value, again[name]) for name, value in model.state_dict().items())

    def test_global_generators_are_untouched(self, data: Split) -> None:
        """Prevents a model from changing what comes after it."""
        before = global_generators()
        self.make(data, training=self.training.model_copy(update={"epochs": 1}))
        assert global_generators() == before

    def test_unknown_users_and_empty_histories_are_served(self, model: Model, data: Split) -> None:
        """Prevents a crash, or the answer of the last user, for whoever is new."""
        cold = Queries(np.full(2, -1, np.int32), Ragged.from_rows([[], [1, 2]]))
        scores = scores_of(model, cold)
        assert bool(scores.isfinite().all())
        last = Queries(np.array([data.log.n_users - 1], np.int32), Ragged.from_rows([[]]))
        if not model.reads_histories and not isinstance(model, Popularity):
            assert not torch.equal(scores[0], scores_of(model, last)[0])

    def test_what_is_looked_up_and_what_is_read(self, model: Model, data: Split) -> None:
        """Prevents a wrong `reads_histories`, by which queries are recorded and reported."""
        queries = some_queries(data)
        strangers = replace(queries, users=np.full(len(queries), -1, np.int32))
        forgetful = replace(queries, histories=Ragged.from_rows([[0]] * len(queries)))
        scores = scores_of(model, queries)
        if model.reads_histories:
            close(scores_of(model, strangers), scores)
            assert not torch.allclose(scores_of(model, forgetful), scores, atol=1e-4)
        else:
            assert torch.equal(scores_of(model, forgetful), scores)

    def test_a_query_does_not_depend_on_its_batch(self, model: Model, data: Split) -> None:
        """Prevents padding, or a neighbour in the batch, from leaking into a score."""
        queries = some_queries(data)
        scores = scores_of(model, queries)
        order = generator(0, "order").permutation(len(queries))
        close(scores_of(model, queries[order]), scores[torch.from_numpy(order)])
        alone = torch.cat([scores_of(model, queries[n : n + 1]) for n in range(len(queries))])
        close(alone, scores)
        assert scores_of(model, queries[:0]).shape == (0, data.log.n_items)

    def test_what_a_query_costs(self, model: Model, data: Split) -> None:
        """Prevents a model that looks free because it computes outside of PyTorch, and costs that its users lack."""
        short, long = (
            model.flops(Queries(np.zeros(1, np.int32), Ragged.from_rows([row]))) for row in ([3], [9, 4, 6, 1, 0, 2, 8])
        )
        assert short < long if model.reads_histories else short == long
        assert (short > 0) != isinstance(model, Popularity)

    def test_saved_and_loaded_it_scores_the_same(self, model: Model, data: Split, tmp_path: Path) -> None:
        """Prevents a weight that is trained but not saved, and rounding that ruins what was measured."""
        queries = some_queries(data)
        scores = scores_of(model, queries)
        sizes = []
        for precision, most in ROUNDING.items():
            folder = tmp_path / precision
            sizes.append(save_model(model, folder, precision))
            loaded = load_model(folder)
            assert (loaded.n_users, loaded.n_items) == (model.n_users, model.n_items)
            off = float((scores_of(loaded, queries) - scores).abs().max())
            assert off <= most * float(scores.max() - scores.min()), (precision, off)
            rounded = scores_of(quantize_(load_model(tmp_path / "float32"), precision), queries)
            assert torch.equal(rounded, scores_of(loaded, queries)), precision
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
        assert torch.equal(*(scores_of(model, some_queries(data)) for model in models))

    def test_sample_weights_count(self, data: Split) -> None:
        """Prevents weights that are read and have no say, and numbers that move where all weigh the same."""
        one = self.training.model_copy(update={"epochs": 1})
        size = len(data.log.histories.values)
        drawn = generator(0, "weights").uniform(0.5, 4.0, size).astype(np.float32)
        plain, even, uneven = (
            self.make(Split(replace(data.log, weights=weights), data.part), training=one).state_dict()
            for weights in (None, np.ones(size, np.float32), drawn)
        )
        assert all(torch.equal(value, even[name]) for name, value in plain.items())
        assert not all(torch.equal(value, uneven[name]) for name, value in plain.items())

    def test_learns_clusters(self, model: Model, data: Split) -> None:
        """Prevents a model that trains without error and learns nothing."""
        assert hit_rate(model, data, 3) >= popularity_hit_rate(data, 3) + self.least_gain


class DotProductContract(ModelContract):
    """What models with query and item vectors owe besides."""

    def test_a_trained_model_is_in_serving_mode(self, model: Model) -> None:
        """Prevents dropout in evaluation."""
        assert not any(module.training for module in model.modules())

    def test_a_score_is_a_dot_product(self, model: Model, data: Split) -> None:
        """Prevents a store of kind `factored`, or an index of item vectors, from answering otherwise."""
        assert isinstance(model, DotProductModel)
        with torch.inference_mode():
            hidden, bias = model.hidden(some_queries(data)), model.item_bias()
            assert hidden.shape == (len(some_queries(data)), model.width)
            product = hidden @ model.item_vectors().T + (0.0 if bias is None else bias)
        close(product, scores_of(model, some_queries(data)))

    @pytest.mark.parametrize("precision", ROUNDING)
    def test_a_bundle_answers_as_the_model_does(
        self, model: Model, data: Split, precision: Precision, tmp_path: Path
    ) -> None:
        """Prevents a student that is served, without torch, from being another than the one that was measured."""
        queries = some_queries(data)
        titles, taken = [""] * model.n_items, Ragged.from_rows([[0]] * model.n_users)
        ids = BundleIds(range(model.n_items), titles, range(model.n_users), taken)
        held_out = queries, Ragged.from_rows([[0]] * len(queries))
        write_bundle(model, ids, held_out, tmp_path / "bundle", precision=precision)
        student = Served.load(tmp_path / "bundle").student
        assert student.reads_histories == model.reads_histories
        expected, values = rank(load_model(tmp_path / "bundle"), queries, 5)
        found, scores = student.rank(queries, 5)
        np.testing.assert_allclose(scores, values, rtol=1e-4, atol=1e-5)
        assert (found == expected).mean() > 0.99  # but for scores that are equal in all digits that count
        allowed = np.arange(0, model.n_items, 2, dtype=np.int32)
        some, _ = student.rank(queries, 5, allowed=allowed)
        assert (some == rank(Restricted(load_model(tmp_path / "bundle"), allowed), queries, 5)[0]).mean() > 0.99


class UserContract(DotProductContract):
    """What models with user vectors owe besides."""

    def test_users_without_history_are_answered_as_popularity_does(self) -> None:
        """Prevents a random first vector, which nothing has trained, from being served as a user's taste."""
        rng, popularity = generator(0, "popularity"), np.arange(1, 41) / 820
        rows = [rng.choice(40, 8, replace=False, p=popularity).tolist() if user >= 5 else [] for user in range(60)]
        data = leave_last_out(replace(clusters(), interactions=Interactions(Ragged.from_rows(rows), n_items=40)))
        model = self.make(data)
        assert isinstance(model, DotProductModel)
        users = np.array([-1, 0, 4, *range(5, 60)], np.int32)
        with torch.inference_mode():
            hidden = model.hidden(Queries(users, Ragged.from_rows([[]] * len(users))))
            torch.testing.assert_close(hidden[:3], hidden[3:].mean(0).expand(3, -1))
            scores = scores_of(model, Queries(users[1:2], Ragged.from_rows([[]])))[0].numpy()
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
            known = model.states(model.embed(items[None, :now]))[0]
            for states in model.states(model.embed(torch.stack([items, other, padded]))):
                close(states[:now], known)

    def test_states_at_the_ends_are_those_among_all(self, model: Model) -> None:
        """Prevents what is shipped from answering otherwise than what was trained."""
        assert isinstance(model, SequenceModel)
        items = torch.arange(3 * model.history_length).view(3, -1) * 7 % model.n_items
        ends = torch.tensor([model.history_length - 1, 0, model.history_length // 2])
        with torch.inference_mode():
            vectors = model.embed(items)
            close(model.end_states(vectors, ends), model.states(vectors)[torch.arange(3), ends])

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
                close(model.hidden(Queries(nobody[:1], rows))[0], hidden[n])

    def test_learns_what_comes_next(self) -> None:
        """Prevents a model of sequences that only counts items, by which nothing can be foretold here."""
        data = leave_last_out(cycles())
        assert hit_rate(self.make(data), data, 1) >= max(0.9, popularity_hit_rate(data, 1) + 0.5)
