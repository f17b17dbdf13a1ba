"""The term against its definition, written out."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from distilrec.data import Batch, final_queries
from distilrec.distillation import KL, DistillationConfig, distil
from distilrec.distillation.method import Setting, Step
from distilrec.distillation.methods import ExpectedRecall
from distilrec.losses import soft_top_k
from distilrec.models import Supervision
from distilrec.testing import MethodContract


class TestExpectedRecall(MethodContract):
    """Each cluster has ten items, of which a user has seen three."""

    method = ExpectedRecall(weight=1, k=7, pool=20)


def test_it_stands_beside_soft_labels(data, labels, student):
    """The way in which it is meant to be used."""
    model = student()
    config = DistillationConfig(alpha=1.0, methods=(KL(), ExpectedRecall(k=5, pool=8)))
    curve = distil(model, data, labels(), config, Supervision(), TestExpectedRecall.training, seed=0)
    assert {"distillation", "expected_recall"} <= set(curve[-1].losses)
    assert curve[-1].losses["expected_recall"] < curve[0].losses["expected_recall"]


@pytest.mark.parametrize("kind", ["topk", "full"])
def test_the_term_by_its_definition(data, labels, student, kind):
    """An item that is a candidate twice, one that was seen, or p at another temperature would each change the value."""
    method, store, model = ExpectedRecall(k=4, pool=9, softness=0.7), labels(kind=kind), student()
    queries, ids = final_queries(data.train)
    users = np.array([3, 0, 6])
    none, unweighed = np.empty(0, np.int64), np.empty(0, np.float32)
    batch = Batch(users, None, none, none, none, none, unweighed, ids[users], none, unweighed)
    rows = store.rows(ids[users])
    rows[1] = -1  # as if it hadn't been recorded
    hidden = model.encode(batch)
    soft, ones = store.batch(rows), torch.ones(len(rows))
    step = Step(model, store, batch, hidden, rows, soft, ones, 1, np.random.default_rng(0))
    value = method.term(Setting(model, data.train, store, 0))(step)

    values = []
    for row, user in ((0, 3), (2, 6)):
        scores = (hidden[row] @ model.item_vectors().T + model.item_bias()).detach()
        seen = queries.histories[user : user + 1].flat()[1]
        unseen = np.setdiff1d(np.arange(40), seen)
        soft = store.batch(rows[row : row + 1])
        listed = soft.items[0][soft.mask[0]].numpy()
        log_p = soft.scores[0] / store.temperature - soft.log_sum_exp_at(store.temperature)[0]
        p = dict(zip(listed, log_p.exp()[soft.mask[0]].tolist(), strict=True))
        own = unseen[torch.argsort(scores[unseen], descending=True)[:9].numpy()]
        candidates = np.union1d(listed, own)
        assert not set(candidates) & set(seen)
        everything = torch.ones(1, len(candidates), dtype=torch.bool)
        inside = soft_top_k(scores[candidates][None], everything, 4, temperature=0.7)[0].tolist()
        values.append(sum(p.get(item, 0.0) * (1 - x) for item, x in zip(candidates, inside, strict=True)))
    assert value.item() == pytest.approx(np.mean(values), abs=1e-5)


def test_a_pool_no_larger_than_the_list_is_refused():
    """Everything would be among the best, and nothing learned."""
    with pytest.raises(ValidationError, match="make pool larger than k"):
        ExpectedRecall(k=50, pool=50)
