import numpy as np
import pytest
import torch

from distilrec.data import Split
from distilrec.errors import ModelError
from distilrec.models import (
    EASEConfig,
    Ensemble,
    LightGCNConfig,
    MatrixFactorizationConfig,
    Model,
    Supervision,
    build,
    fit,
    load_model,
    save_model,
)
from distilrec.scoring import Queries, Ragged
from distilrec.testing import ModelContract
from distilrec.training import TrainingConfig


class TestEnsemble(ModelContract):
    def make(self, data: Split, *, training: TrainingConfig | None = None) -> Model:
        sizes = data.train.n_users, data.train.n_items
        linear = build(EASEConfig(reg=5.0), *sizes, seed=0)
        linear.fit(data.train)
        factors = build(MatrixFactorizationConfig(embedding_size=32), *sizes, seed=0)
        fit(factors, data, Supervision(), training or self.training, seed=0)
        return Ensemble([linear, factors]).eval()

    def test_what_is_looked_up_and_what_is_read(self, model: Model) -> None:
        """One member looks users up and the other reads histories, so an ensemble may do both."""
        assert model.reads_histories


class TestEnsembleByHistory(TestEnsemble):
    def make(self, data: Split, *, training: TrainingConfig | None = None) -> Model:
        made = super().make(data, training=training)
        assert isinstance(made, Ensemble)
        model = Ensemble(made.list_members(), by_history=True).eval()
        model.weights.copy_(torch.tensor([[share, 1 - share] for share in (0.0, 0.2, 0.4, 0.6, 1.0)]))
        return model


class Table(Model):
    """Scores of each user, looked up."""

    def __init__(self, scores: torch.Tensor) -> None:
        super().__init__(*scores.shape)
        self.register_buffer("scores", scores)

    def score(self, queries: Queries) -> torch.Tensor:
        return self.scores[torch.from_numpy(queries.users).long()]


def everyone(n_users: int) -> tuple[Queries, Ragged]:
    """User u wants item u."""
    queries = Queries(np.arange(n_users, dtype=np.int32), Ragged.from_rows([[]] * n_users))
    return queries, Ragged.from_rows([[user] for user in range(n_users)])


def noise(seed: int) -> torch.Tensor:
    return torch.randn(30, 30, generator=torch.Generator().manual_seed(seed))


def test_scores_are_standardised_per_query_by_hand():
    """Members on other scales would otherwise rule the mix."""
    a, b = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[300.0, 100.0, 200.0]])
    ensemble = Ensemble([Table(a), Table(b)])
    scores = ensemble.score(everyone(1)[0])
    torch.testing.assert_close(scores, torch.tensor([[0.0, -0.5, 0.5]]) * 1.5**0.5)


def test_weights_find_the_better_member():
    """A search that kept the last mix instead of the best one would weigh noise."""
    ensemble = Ensemble([Table(noise(0)), Table(torch.eye(30) * 9 + noise(1))])
    assert ensemble.fit_weights(*everyone(30)) == 1.0
    assert ensemble.weights.tolist() == [[0.0, 1.0]]


def test_members_that_know_different_users_are_mixed():
    """Prevents an ensemble that is only its best member."""
    half = (torch.arange(30) < 15).unsqueeze(1)
    members = [Table(torch.eye(30) * 4 * known + noise(n)) for n, known in enumerate([half, ~half])]
    quality = Ensemble(members).fit_weights(*everyone(30))
    alone = [Ensemble([member]).fit_weights(*everyone(30)) for member in members]
    assert quality > max(alone) + 0.05


def test_by_history_each_length_listens_to_who_knows_it():
    """60 users without history whom the first member knows, 60 with two items whom the second knows, 20 with five."""
    known = (torch.arange(140) < 60).unsqueeze(1)
    noise = torch.randn(2, 140, 140, generator=torch.Generator().manual_seed(0))
    right, wrong = torch.eye(140) * 9, torch.eye(140).roll(1, dims=1) * 9
    members = [Table(torch.where(who, right, wrong) + noise[n]) for n, who in enumerate([known, ~known])]
    rows = [[]] * 60 + [[0, 1]] * 60 + [[0, 1, 2, 3, 4]] * 20
    queries = Queries(np.arange(140, dtype=np.int32), Ragged.from_rows(rows))
    targets = everyone(140)[1]
    ensemble, shared = Ensemble(members, by_history=True), Ensemble(members)
    assert ensemble.fit_weights(queries, targets) > shared.fit_weights(queries, targets)
    # Too few have five items, and nobody has more: they go with those who have two.
    assert ensemble.weights.tolist() == [[1.0, 0.0], *[[0.0, 1.0]] * 4]
    torch.testing.assert_close(ensemble.score(queries[:1]), Ensemble(members[:1]).score(queries[:1]))
    torch.testing.assert_close(ensemble.score(queries[120:]), Ensemble(members[1:]).score(queries[120:]))
    assert ensemble.mean_weights(queries) == pytest.approx([60 / 140, 80 / 140])


def test_by_history_comes_back_from_disk(tmp_path):
    ensemble = Ensemble([build(LightGCNConfig(embedding_size=4), 3, 5, seed=seed) for seed in (0, 1)], by_history=True)
    ensemble.weights.copy_(torch.tensor([[share, 1 - share] for share in (0.0, 0.2, 0.4, 0.6, 1.0)]))
    save_model(ensemble, tmp_path)
    queries = Queries(np.arange(3, dtype=np.int32), Ragged.from_rows([[], [0, 1], [0, 1, 2]]))
    torch.testing.assert_close(load_model(tmp_path).score(queries), ensemble.score(queries))


def test_only_what_serves_is_saved(tmp_path):
    """The first vectors of a LightGCN would double the ensemble's bytes and count as its parameters."""
    member = build(LightGCNConfig(embedding_size=4), 3, 5, seed=0)
    member.smoothed.normal_()
    ensemble = Ensemble([member])
    assert set(ensemble.serving_state()) == {"weights", "members.0.bias", "members.0.users", "members.0.items"}
    save_model(ensemble, tmp_path)
    query = everyone(3)[0]
    torch.testing.assert_close(load_model(tmp_path).score(query), ensemble.score(query))


def test_members_that_do_not_fit_are_refused():
    with pytest.raises(ModelError, match=r"\[3, 4\]"):
        Ensemble([Table(torch.zeros(2, 3)), Table(torch.zeros(2, 4))])
    with pytest.raises(ModelError, match="at least one member"):
        Ensemble([])
