from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from distilrec.errors import ModelError, RecipeError
from distilrec.metrics import Metric
from distilrec.ranking import evaluate, rank, score_pairs, top_k
from distilrec.scoring import Queries, Ragged


@dataclass
class Table:
    """A recommender that looks its scores up, and notes how many queries it was asked at once."""

    table: torch.Tensor
    asked: list[int] = field(default_factory=list)
    scores_are_logits = False

    @property
    def n_items(self):
        return self.table.shape[1]

    def score(self, queries):
        self.asked.append(len(queries))
        return self.table[torch.from_numpy(queries.users).long()]


def queries_for(histories, seen=None):
    return Queries(
        np.arange(len(histories), dtype=np.int32),
        Ragged.from_rows(histories),
        None if seen is None else Ragged.from_rows(seen),
    )


def by_sorting(scores, k):
    """Best first, the smaller item first among equals, by a full stable sort."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), order


@given(
    n_rows=st.integers(1, 5),
    n_items=st.integers(1, 700),
    k=st.integers(1, 30),
    levels=st.sampled_from([1, 2, 5, 50, 10**6]),
    seed=st.integers(0, 2**32 - 1),
)
def test_top_k_is_a_stable_sort(n_rows, n_items, k, levels, seed):
    """Prevents ties broken at random, and a pruned search that misses an item."""
    k = min(k, n_items)
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels, (n_rows, n_items)).astype(np.float32)
    scores[rng.random(scores.shape) < 0.1] = -np.inf
    values, items = top_k(torch.from_numpy(scores), k)
    expected_values, expected_items = by_sorting(scores, k)
    np.testing.assert_array_equal(items.numpy(), expected_items)
    np.testing.assert_array_equal(values.numpy(), expected_values)


@pytest.mark.parametrize("n_items", [319, 320, 321, 2560, 3001])
def test_top_k_around_the_sizes_where_groups_form(n_items):
    """Prevents losing the items after the last whole group, at either level of the search."""
    scores = torch.randn(20, n_items, generator=torch.Generator().manual_seed(n_items))
    scores[::2, -3:] += 100.0
    np.testing.assert_array_equal(top_k(scores, 9)[1].numpy(), by_sorting(scores.numpy(), 9)[1])


def test_top_k_of_constant_scores_is_the_first_items():
    """Prevents a constant model from getting credit by an arbitrary order."""
    assert top_k(torch.zeros(3, 5000), 4)[1].tolist() == [[0, 1, 2, 3]] * 3


@pytest.mark.parametrize("k", [0, 4])
def test_top_k_refuses_a_cut_off_outside_the_catalogue(k):
    with pytest.raises(ValueError, match=r"k must lie in 1\.\.3"):
        top_k(torch.zeros(1, 3), k)


def test_seen_items_are_left_out_and_short_lists_end_in_minus_one():
    """Prevents masked items, at -inf, from filling up a list as if recommended."""
    model = Table(torch.tensor([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]))
    items, values = rank(model, queries_for([[0], [], [2, 1, 0]]), 2)
    assert items.tolist() == [[1, 2], [2, 1], [-1, -1]]
    assert values.tolist() == [[2.0, 1.0], [3.0, 2.0], [-np.inf, -np.inf]]
    assert items.dtype == np.int32
    assert values.dtype == np.float32


def test_lists_longer_than_the_catalogue_are_padded():
    items, _ = rank(Table(torch.tensor([[1.0, 2.0]])), queries_for([[]]), 4)
    assert items.tolist() == [[1, 0, -1, -1]]


def test_items_to_mask_may_differ_from_the_history():
    """Prevents a model with a truncated history from being rewarded for what it no longer remembers."""
    model = Table(torch.tensor([[3.0, 2.0, 1.0]]))
    items, _ = rank(model, queries_for([[0]], seen=[[1]]), 3)
    assert items.tolist() == [[0, 2, -1]]


def test_without_filter_seen_nothing_is_masked():
    model = Table(torch.tensor([[3.0, 2.0, 1.0]]))
    assert rank(model, queries_for([[0]]), 1, filter_seen=False)[0].tolist() == [[0]]


@given(batch_size=st.integers(1, 8))
def test_batches_change_nothing(batch_size):
    """Prevents the mask or the targets of one block from being applied to another."""
    table = torch.randn(7, 40, generator=torch.Generator().manual_seed(0))
    rng = np.random.default_rng(1)
    queries = queries_for([rng.integers(0, 40, n).tolist() for n in range(7)])
    targets = Ragged.from_rows([rng.integers(0, 40, 3).tolist() for _ in range(7)])
    names = ["ndcg@5", "recall@20", "auc"]
    whole = evaluate(Table(table), queries, targets, names)
    parts = evaluate(Table(table), queries, targets, names, batch_size=batch_size)
    for name in names:
        np.testing.assert_allclose(parts[name], whole[name], atol=1e-12)


def test_blocks_of_scores_stay_small():
    """Prevents an evaluation that runs out of memory on a large catalogue: 31 MiB of scores, 1,024 queries."""
    wide = Table(torch.zeros(1, 2**20).expand(20, -1))
    rank(wide, queries_for([[]] * 20), 1)
    assert max(wide.asked) == 15
    narrow = Table(torch.zeros(1, 3).expand(3000, -1))
    rank(narrow, queries_for([[]] * 3000), 1)
    assert max(narrow.asked) == 1024


def test_metrics_by_hand():
    model = Table(torch.tensor([[4.0, 3.0, 2.0, 1.0], [4.0, 3.0, 2.0, 1.0]]))
    values = evaluate(
        model, queries_for([[], [0]]), Ragged.from_rows([[1, 3, 3], [3]]), ["ndcg@2", "recall@2", "mrr@3"]
    )
    ideal = 1 + 1 / np.log2(3)
    np.testing.assert_allclose(values["ndcg@2"], [1 / np.log2(3) / ideal, 0.0])
    np.testing.assert_allclose(values["recall@2"], [0.5, 0.0])  # the repeated target counts once
    np.testing.assert_allclose(values["mrr@3"], [0.5, 1 / 3])


def test_a_masked_target_is_a_miss_that_counts():
    """Prevents repeat consumption from vanishing from the divisor and lifting recall."""
    model = Table(torch.tensor([[4.0, 3.0, 2.0, 1.0]]))
    values = evaluate(model, queries_for([[0]]), Ragged.from_rows([[0, 1]]), ["recall@3", "auc"])
    assert values["recall@3"] == [0.5]
    assert values["auc"] == [0.5]  # item 1 above 2 and 3; item 0 below both


def test_the_padding_of_one_row_is_not_a_hit_on_the_last_item_of_the_row_before():
    """Prevents -1 from being read as an index."""
    model = Table(torch.tensor([[1.0, 2.0], [1.0, 2.0]]))
    values = evaluate(model, queries_for([[], [0, 1]]), Ragged.from_rows([[1], [0]]), ["hit_rate@2"])
    assert values["hit_rate@2"].tolist() == [1.0, 0.0]


def test_queries_without_targets_score_zero():
    values = evaluate(Table(torch.zeros(2, 3)), queries_for([[], []]), Ragged.from_rows([[], []]), ["ndcg@2"])
    assert values["ndcg@2"].tolist() == [0.0, 0.0]


@given(n_items=st.integers(4, 60), levels=st.sampled_from([2, 5, 10**6]), seed=st.integers(0, 2**32 - 1))
def test_auc_of_a_ranking_equals_scikit_learn(n_items, levels, seed):
    """Prevents masked items or other targets from being counted as negatives."""
    rng = np.random.default_rng(seed)
    table = rng.integers(0, levels, (3, n_items)).astype(np.float32)
    order = [rng.permutation(n_items) for _ in range(3)]
    n_targets = rng.integers(1, n_items // 2, 3)
    n_seen = rng.integers(0, n_items // 2, 3)
    targets = [row[:n].tolist() for row, n in zip(order, n_targets, strict=True)]
    seen = [row[n : n + m].tolist() for row, n, m in zip(order, n_targets, n_seen, strict=True)]
    got = evaluate(Table(torch.from_numpy(table)), queries_for(seen), Ragged.from_rows(targets), ["auc"])["auc"]
    for row in range(3):
        kept = order[row][: n_targets[row]].tolist() + order[row][n_targets[row] + n_seen[row] :].tolist()
        labels = np.arange(len(kept)) < n_targets[row]
        assert got[row] == pytest.approx(roc_auc_score(labels, table[row, kept]), rel=0, abs=1e-9)


def test_own_metrics_need_no_registration():
    first = Metric("first", 1, lambda hits, n_relevant, k: hits[:, 0].astype(np.float64))
    values = evaluate(Table(torch.tensor([[1.0, 2.0]])), queries_for([[]]), Ragged.from_rows([[1]]), [first])
    assert values["first@1"] == [1.0]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("metric", ["ndcg@2", "auc"])
def test_scores_that_are_not_finite_are_refused(bad, metric):
    """Prevents a diverged model from being ranked by the place of its NaN."""
    model = Table(torch.tensor([[1.0, bad, 2.0]]))
    with pytest.raises(ModelError, match=r"Table\.score returned NaN or \+inf"):
        evaluate(model, queries_for([[]]), Ragged.from_rows([[0]]), [metric])


def test_scores_of_another_shape_are_refused():
    """Prevents broadcasting one query's scores over all."""
    model = Table(torch.zeros(1, 3))
    model.score = lambda queries: torch.zeros(1, 3)
    with pytest.raises(ModelError, match=r"expected shape \(2, 3\)"):
        rank(model, queries_for([[], []]), 1)


@pytest.mark.parametrize("item", [-1, 3])
def test_items_outside_the_catalogue_are_refused(item):
    """Prevents the flat mask from reaching into the next query's row."""
    model = Table(torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"the model knows 0\.\.2"):
        rank(model, queries_for([[item], []]), 1)
    with pytest.raises(ValueError, match=r"the targets hold"):
        evaluate(model, queries_for([[], []]), Ragged.from_rows([[item], [0]]), ["ndcg@1"])


def test_targets_must_match_the_queries():
    with pytest.raises(ValueError, match="each of the 2 queries, given 1 rows"):
        evaluate(Table(torch.zeros(2, 3)), queries_for([[], []]), Ragged.from_rows([[0]]))


def test_unknown_metrics_are_refused_before_any_scoring():
    model = Table(torch.zeros(1, 3))
    with pytest.raises(RecipeError, match="recal@5"):
        evaluate(model, queries_for([[]]), Ragged.from_rows([[0]]), ["recal@5"])
    assert model.asked == []


def test_scores_of_pairs_are_those_of_their_query_whatever_the_block():
    """An offset that is wrong from the second block on, or a mask that hides what was seen."""
    table = torch.arange(15.0).view(3, 5)
    queries, items = queries_for([[0], [1], []]), Ragged.from_rows([[4, 0], [], [1]])
    for size in (1, 2, None):
        assert score_pairs(Table(table), queries, items, batch_size=size).tolist() == [4.0, 0.0, 11.0]
    with pytest.raises(ModelError, match="NaN or infinity"):
        score_pairs(Table(table * torch.nan), queries, items)
    with pytest.raises(ValueError, match="for each of the 3 queries, given 2 rows"):
        score_pairs(Table(table), queries, items[:2])


class Dots:
    """A model whose scores are dot products."""

    scores_are_logits, n_items, width = True, 30, 4

    def __init__(self, bias):
        self.vectors, self.bias = torch.randn(30, 4, generator=torch.Generator().manual_seed(0)), bias

    def hidden(self, queries):
        return torch.eye(4)[torch.from_numpy(queries.users).long() % 4]

    def item_vectors(self):
        return self.vectors

    def item_bias(self):
        return self.bias

    def score(self, queries):
        raise AssertionError("dot products are made in one place")


@pytest.mark.parametrize("bias", [None, torch.linspace(-1, 1, 30)], ids=["without bias", "with bias"])
def test_dot_products_of_several_blocks(bias):
    """A block that overwrites the one before it while that is still read, or a bias that is forgotten."""
    model, users = Dots(bias), np.arange(11, dtype=np.int32)
    queries = Queries(users, Ragged.from_rows([[int(user)] for user in users]))
    expected = model.hidden(queries) @ model.vectors.T + (0.0 if bias is None else bias)
    expected[torch.arange(11), torch.arange(11)] = -torch.inf
    items, values = rank(model, queries, 5, batch_size=3)
    torch.testing.assert_close(torch.from_numpy(values), expected.topk(5, dim=1).values)
    assert torch.equal(torch.from_numpy(items).long(), expected.argsort(dim=1, descending=True)[:, :5])
    listed = Ragged.from_rows([[int(user) + 3, 2] for user in users])
    pairs = score_pairs(model, queries, listed, batch_size=4).reshape(-1, 2)
    whole = model.hidden(queries) @ model.vectors.T + (0.0 if bias is None else bias)
    torch.testing.assert_close(torch.from_numpy(pairs[:, 1].copy()), whole[:, 2])
