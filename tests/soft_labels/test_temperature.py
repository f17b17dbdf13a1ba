import logging

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from distilrec import ranking
from distilrec.errors import SoftLabelError
from distilrec.scoring import Queries, Ragged
from distilrec.soft_labels import fit_temperature


def asked(n: int) -> Queries:
    return Queries(np.arange(n, dtype=np.int32), Ragged.from_rows([[] for _ in range(n)]))


def sampled_targets(logits: torch.Tensor) -> Ragged:
    drawn = torch.multinomial(logits.softmax(1), 3, replacement=True, generator=torch.Generator().manual_seed(0))
    return Ragged.from_rows(drawn.tolist())


@pytest.mark.parametrize("temperature", [1e-3, 0.3, 1.0, 50.0])
def test_the_temperature_of_known_data_is_found(table, temperature):
    """Targets drawn from softmax(logits): scores = T * logits must give T back."""
    logits = torch.randn(2000, 20, generator=torch.Generator().manual_seed(1)) * 2
    fitted = fit_temperature(table(logits * temperature + 5), asked(2000), sampled_targets(logits))
    assert fitted == pytest.approx(temperature, rel=0.05)


def test_it_minimises_the_loss(table, queries, teacher, seen):
    """Against a general optimiser, with seen items and seen targets left out."""
    targets = sampled_targets(teacher.scores / 2)
    fitted = fit_temperature(teacher, queries, targets)
    rows, items = (torch.from_numpy(x).long() for x in targets.flat())
    masked = teacher.scores.masked_fill(seen, -torch.inf).double()
    valid = ~seen[rows, items]

    def loss(log_temperature):
        return -(masked / np.exp(log_temperature)).log_softmax(1)[rows, items][valid].mean().item()

    best = minimize_scalar(loss, bounds=(-5, 5), method="bounded", options={"xatol": 1e-6})
    assert loss(np.log(fitted)) <= best.fun + 1e-6


def test_blocks_do_not_matter(table, monkeypatch):
    logits = torch.randn(100, 20, generator=torch.Generator().manual_seed(1))
    whole = fit_temperature(table(logits), asked(100), sampled_targets(logits))
    monkeypatch.setattr(ranking, "MOST_QUERIES", 7)
    assert fit_temperature(table(logits), asked(100), sampled_targets(logits)) == pytest.approx(whole, rel=0.01)


@pytest.mark.parametrize(("sign", "words"), [(1, "without error"), (-1, "no better than chance")])
def test_a_teacher_without_a_best_temperature_ends_with_a_warning(table, caplog, sign, words):
    """The search must neither run for ever nor return infinity."""
    scores = torch.randn(60, 20, generator=torch.Generator().manual_seed(1))
    targets = Ragged.from_rows(scores.argmax(1, keepdim=True).tolist())
    with caplog.at_level(logging.WARNING):
        fitted = fit_temperature(table(sign * scores), asked(60), targets)
    assert 1e-5 < fitted < 1e5
    assert words in caplog.text


def test_nothing_to_fit_on_is_refused(table, teacher):
    with pytest.raises(SoftLabelError, match="no validation queries"):
        fit_temperature(teacher, asked(0), Ragged.from_rows([]))
    with pytest.raises(SoftLabelError, match="expected targets for each of 2"):
        fit_temperature(teacher, asked(2), Ragged.from_rows([[1]]))
    seen = Queries(np.zeros(1, np.int32), Ragged.from_rows([[4]]))
    with pytest.raises(SoftLabelError, match="hasn't seen"):
        fit_temperature(teacher, seen, Ragged.from_rows([[4]]))
    assert fit_temperature(teacher, seen, Ragged.from_rows([[4]]), filter_seen=False) > 0
