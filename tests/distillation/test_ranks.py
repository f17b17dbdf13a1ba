"""Ranks are compared with those of sorting all scores."""

import numpy as np
import pytest
import torch

from distilrec.data import final_queries
from distilrec.distillation.draw import draw
from distilrec.distillation.ranks import best_items, estimated_ranks, highest, sampled_items
from distilrec.scoring import Ragged

SEED = 0


def exact_ranks(scores, items):
    places = scores.argsort(dim=1, descending=True).argsort(dim=1)
    return places.gather(1, items).float()


def all_scores(step, data):
    """(P, N): what the student says, and -inf for what a query has seen."""
    scores = (step.hidden @ step.item_vectors.T + step.student.item_bias()).detach()
    for row, user in enumerate(step.batch.users):
        scores[row, data.train.histories[user : user + 1].flat()[1]] = -torch.inf
    return scores


def test_ranks_are_exact_where_the_sample_is_the_catalogue():
    scores = torch.randn(5, 60, generator=torch.Generator().manual_seed(SEED))
    items = torch.stack([torch.randperm(60, generator=torch.Generator().manual_seed(n))[:7] for n in range(5)])
    shuffled = scores[:, torch.randperm(60, generator=torch.Generator().manual_seed(9))]
    ranks = estimated_ranks(scores.gather(1, items), shuffled, 60)
    torch.testing.assert_close(ranks, exact_ranks(scores, items))


def test_estimates_have_no_bias():
    """A rank that is off by a factor is tanh of another argument: all weights are near 1, or near 0."""
    rng = np.random.default_rng(SEED)
    scores = torch.randn(3, 200, generator=torch.Generator().manual_seed(SEED))
    items = torch.tensor([[0, 5, 9]]).expand(3, -1)
    samples = [torch.from_numpy(rng.choice(200, 40, replace=False)) for _ in range(2000)]
    ranks = torch.stack([estimated_ranks(scores.gather(1, items), scores[:, sample], 200) for sample in samples])
    torch.testing.assert_close(ranks.mean(0), exact_ranks(scores, items), rtol=0.05, atol=0.5)


def test_what_has_no_rank_comes_before_nothing():
    """A seen item at the top of the student's scores would push all others down."""
    ranks = estimated_ranks(torch.tensor([[1.0, -9.0]]), torch.tensor([[2.0, -torch.inf, -torch.inf, 1.0]]), 4)
    assert ranks.tolist() == [[1.0, 2.0]]


def test_best_items_are_the_unseen_ones_of_a_full_sort(make_step, data):
    """Seen items would fill the student's list after the first epochs, and the teacher speaks of none of them."""
    step = make_step()
    items, mask = best_items(step, data.train, 9)
    assert torch.equal(items, all_scores(step, data).argsort(dim=1, descending=True)[:, :9])
    assert bool(mask.all())


def test_lists_longer_than_the_catalogue_end(make_step, data):
    step = make_step()
    items, mask = best_items(step, data.train, 100)
    assert items.shape == (16, 40)
    assert torch.equal(mask, all_scores(step, data).gather(1, items) > -torch.inf)


def test_sampled_items_come_with_the_students_scores(make_step, data):
    step = make_step()
    items, scores = sampled_items(step, data.train, 25)
    assert len(items.unique()) == 25
    torch.testing.assert_close(scores, all_scores(step, data)[:, items])
    assert len(sampled_items(step, data.train, 41)[0]) == 40


def test_a_store_with_seen_items_has_ranks_of_them(make_step, data):
    """There the teacher's list holds them, too."""
    step = make_step(filter_seen=False)
    assert bool(sampled_items(step, data.train, 40)[1].isfinite().all())
    items, _ = best_items(step, data.train, 1)
    scores = step.hidden @ step.item_vectors.T + step.student.item_bias()
    assert torch.equal(items.squeeze(1), scores.argmax(1))


def test_unrecorded_queries_are_masked(make_step, data, labels):
    queries, ids = final_queries(data.train)
    step = make_step(store=labels(queries=(queries[::2], ids[::2])))
    _, mask = best_items(step, data.train, 5)
    assert torch.equal(mask.all(1), torch.from_numpy(step.rows >= 0))
    assert torch.equal(mask.any(1), mask.all(1))


def test_gradients_of_the_step_survive(make_step, data):
    """The step keeps the item vectors that it is asked for first; made without gradients, nothing would be learned."""
    step = make_step()
    weights = torch.ones((), requires_grad=True)
    computed = step.student.item_vectors
    step.student.item_vectors = lambda: weights * computed()
    items, _ = best_items(step, data.train, 5)
    sampled_items(step, data.train, 5)
    step.scores(items).sum().backward()
    assert weights.grad is not None


@pytest.mark.parametrize("kind", ["topk", "factored", "full"])
def test_taught_items_are_the_same_in_all_stores(make_step, kind):
    """A full store holds items by number, of which the first ones aren't the best."""
    items, scores, mask = make_step(kind=kind).soft.best(10)
    assert bool(mask.all())
    assert torch.equal(items, make_step().soft.best(10)[0])
    assert scores[:, :7].tolist() == [[4.0] * 7] * 16


def test_columns_are_drawn_by_weight_and_none_twice():
    weights = torch.tensor([[1.0, 0.0, 3.0, 4.0]]).expand(20_000, -1)
    columns, mask = draw(np.random.default_rng(SEED), weights, 1)
    shares = torch.bincount(columns[:, 0], minlength=4) / 20_000
    torch.testing.assert_close(shares, torch.tensor([0.125, 0, 0.375, 0.5]), rtol=0, atol=0.015)
    assert bool(mask.all())
    columns, mask = draw(np.random.default_rng(SEED), weights[:1], 4)
    assert columns.tolist() == [[0, 1, 2, 3]]
    assert mask.tolist() == [[True, False, True, True]]


def test_the_highest_of_all_items_a_few_rows_at_a_time(monkeypatch):
    """Rows that are put together wrongly, and items that were seen in another row."""
    hidden, vectors = torch.randn(7, 4), torch.randn(20, 4)
    monkeypatch.setattr("distilrec.distillation.ranks.queries_at_once", lambda n_items: 3)
    scores = hidden @ vectors.T
    assert torch.equal(highest(hidden, vectors, None, 5)[0], scores.argsort(dim=1, descending=True)[:, :5])
    seen = Ragged.from_rows([[row] for row in range(6)] + [list(range(17))])
    items, mask = highest(hidden, vectors, torch.zeros(20), 5, seen)
    assert not bool((items[:6] == torch.arange(6).unsqueeze(1)).any())
    assert mask.sum(1).tolist() == [5] * 6 + [3]
    assert set(items[6, :3].tolist()) == {17, 18, 19}
