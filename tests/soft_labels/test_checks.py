import math

import numpy as np
import pytest
import torch

from distilrec.data import Interactions, Split, prefix_queries
from distilrec.errors import SoftLabelError
from distilrec.scoring import Queries, Ragged
from distilrec.soft_labels.checks import check_held_out


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_scores_that_are_not_finite_are_refused(recorded, teacher, bad):
    """Wherever it is, also after the first queries that are looked at."""
    teacher.scores[41, 3] = bad
    with pytest.raises(SoftLabelError, match=f"item 3 the score {bad} for user 41"):
        recorded()


def test_constant_scores_are_refused(recorded, table):
    """An untrained or broken teacher gives lists all the same: the first k items."""
    with pytest.raises(SoftLabelError, match="alike for 100%"):
        recorded(table(torch.ones(50, 30)))


def test_a_few_constant_rows_are_allowed(recorded, teacher):
    """Users without a history, say."""
    teacher.scores[:20] = 0.0
    assert len(recorded()) == 50


def test_popularity_is_a_teacher(recorded, table):
    """The same row for all queries is legitimate, and a control in comparisons."""
    assert len(recorded(table(torch.arange(30.0).expand(50, 30)))) == 50


def test_scores_of_another_shape_are_refused(recorded, table):
    class Wide(table):
        n_items = 29

    with pytest.raises(SoftLabelError, match=r"shape \(\d+, 30\), expected \(\d+, 29\)"):
        recorded(
            Wide(torch.randn(50, 30)),
            asked=Queries(np.arange(50, dtype=np.int32), Ragged.from_rows([[]] * 50)),
        )


@pytest.mark.parametrize("wrong", [lambda scores: scores.numpy(), lambda scores: scores.tolist(), lambda scores: None])
def test_scores_that_are_no_tensor_are_refused(recorded, table, wrong):
    """The first line of arithmetic would fail, in a file of ours."""

    class Other(table):
        def score(self, queries):
            return wrong(super().score(queries))

    with pytest.raises(SoftLabelError, match=r"score\(queries\) is a \w+, expected a torch.Tensor; torch.from_numpy"):
        recorded(Other(torch.randn(50, 30)))


def test_a_function_is_no_teacher(recorded, teacher):
    with pytest.raises(SoftLabelError, match="the teacher, a method, lacks n_items, scores_are_logits, score; a teach"):
        recorded(teacher.score)


def test_histories_out_of_range_are_refused(recorded):
    """Masking item 30 of row 0 in a flat block would mask item 0 of row 1."""
    asked = Queries(np.arange(2, dtype=np.int32), Ragged.from_rows([[30], [1]]))
    with pytest.raises(SoftLabelError, match=r"1\.\.30, but the teacher knows 0\.\.29"):
        recorded(asked=asked)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ids: np.where(ids == ids.max(), ids.min(), ids), "repeat"),
        (lambda ids: ids[:, None], "one integer query id"),
        (lambda ids: ids.astype(np.float64), "one integer query id"),
    ],
)
def test_query_ids_must_be_distinct_integers(recorded, ids, change, message):
    from distilrec.soft_labels.checks import check_queries

    asked = Queries(np.arange(50, dtype=np.int32), Ragged.from_rows([[]] * 50))
    with pytest.raises(SoftLabelError, match=message):
        check_queries(asked, change(ids), 30)


def test_no_queries_are_refused(recorded):
    with pytest.raises(SoftLabelError, match="no queries"):
        recorded(asked=Queries(np.empty(0, np.int32), Ragged.from_rows([])))


def test_a_teacher_of_other_training_data_is_refused(recorded, teacher):
    """It may have been trained on the test part."""
    teacher.training_fingerprint = "all the data"
    with pytest.raises(SoftLabelError, match="all the data"):
        recorded()
    teacher.training_fingerprint = "data"
    assert len(recorded()) == 50


# Held-out interactions


def log() -> Split:
    """User 0 takes item 5 again in the test part; user 1 has each item once."""
    histories = Ragged.from_rows([[5, 6, 7, 5], [1, 2, 3, 4]])
    return Split(Interactions(histories, n_items=10), np.array([0, 0, 1, 2] * 2, np.uint8))


def held_out(split: Split) -> Interactions:
    return split.log.select(split.part > 0)


def test_training_queries_pass_with_an_item_that_is_taken_again():
    split = log()
    queries, _ = prefix_queries(split.train, 10)
    check_held_out(queries, held_out(split))


@pytest.mark.parametrize("last", [3, 4])
def test_a_query_that_reaches_into_the_held_out_part_is_refused(last):
    """Validation or test items in a recorded history teach the student what it is tested on."""
    split = log()
    queries = Queries(
        np.array([0, 1], np.int32),
        Ragged(np.array([0, 4]), np.array([2, 4 + last]), split.log.histories.values),
    )
    with pytest.raises(SoftLabelError, match=r"1 of 2 queries.*place 1, user 1"):
        check_held_out(queries, held_out(split))


def test_a_mask_that_holds_held_out_items_is_refused():
    """Masked items are missing from the lists, which tells of them all the same."""
    split = log()
    values = split.log.histories.values
    histories = Ragged(np.array([0]), np.array([2]), values)
    with pytest.raises(SoftLabelError, match="1 of 1"):
        check_held_out(
            Queries(np.array([0], np.int32), histories, Ragged(np.array([0]), np.array([3]), values)),
            held_out(split),
        )


def test_other_arrays_are_compared_by_user_and_item():
    """Item 3 is held out for user 1 only; unknown users can't be compared."""
    out = Interactions(Ragged.from_rows([[], [3, 4]]), n_items=10)
    fine = Queries(np.array([0, 1, -1], np.int32), Ragged.from_rows([[3, 4], [1, 2], [3]]))
    check_held_out(fine, out)
    bad = Queries(np.array([0, 1, 1], np.int32), Ragged.from_rows([[3], [1], [0, 4]]))
    with pytest.raises(SoftLabelError, match=r"1 of 3 queries.*place 2, user 1"):
        check_held_out(bad, out)
    check_held_out(bad, Interactions(Ragged.from_rows([[], []]), n_items=10))


def test_the_check_is_made_on_recording(recorded, queries):
    out = Interactions(queries.histories, n_items=30)
    with pytest.raises(SoftLabelError, match="validation or test interactions"):
        recorded(held_out=out)


# Hidden states


def test_hidden_states_must_exist(recorded):
    with pytest.raises(SoftLabelError, match="teacher has none"):
        recorded(hidden=True)
    with pytest.raises(SoftLabelError, match="teacher has none"):
        recorded(kind="factored")


def test_hidden_states_that_are_not_finite_are_refused(recorded, factored):
    factored.users = factored.users.clone()
    factored.users[41, 0] = math.nan
    factored.item_vectors = None
    del factored.item_vectors
    with pytest.raises(SoftLabelError, match="hidden"):
        recorded(factored, hidden=True)


def test_hidden_states_too_large_for_float16_are_refused(recorded, factored):
    """They would be stored as infinity."""
    factored.users, factored.items = factored.users * 1e6, factored.items / 1e6
    with pytest.raises(SoftLabelError, match="float32"):
        recorded(factored, hidden=True)
    assert recorded(factored, hidden=True, dtype="float32", name="wide").batch(np.arange(50)).hidden.isfinite().all()


def test_factors_that_are_not_the_scores_are_refused(recorded, factored):
    """Lists would come from one teacher, the scores of chosen items from another."""
    factored.bias = factored.bias + 1.0
    with pytest.raises(SoftLabelError, match=r"off hidden @ item_vectors\.T"):
        recorded(factored, kind="factored")


def test_a_teacher_without_factors_is_refused(recorded, table):
    class Encoder(table):
        width = 2

        def hidden(self, queries):
            return torch.zeros(len(queries), 2)

    teacher = Encoder(torch.randn(50, 30))
    with pytest.raises(SoftLabelError, match="Encoder lacks"):
        recorded(teacher, kind="factored")
    assert recorded(teacher, hidden=True).batch(np.arange(2)).hidden.shape == (2, 2)


@pytest.mark.parametrize("kind", ["topk", "factored"])
@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("hidden", lambda queries: np.zeros((len(queries), 4)), r"hidden\(queries\) is a ndarray, expected a torch"),
        ("item_vectors", lambda: np.zeros((30, 4)), r"item_vectors\(\) is a ndarray, expected a torch"),
        ("item_vectors", lambda: torch.zeros(4, 30), r"item_vectors\(\) has shape \(4, 30\), expected \(30, 4\)"),
        ("item_bias", lambda: torch.zeros(30, 1), r"item_bias\(\) has shape \(30, 1\), expected \(30,\)"),
    ],
)
def test_factors_of_another_type_or_shape_are_refused(recorded, factored, kind, name, given, message):
    """A bias (N, 1) would be added to the wrong side of the scores wherever as many queries are asked as items are."""
    setattr(factored, name, given)
    with pytest.raises(SoftLabelError, match=message):
        recorded(factored, kind=kind)
