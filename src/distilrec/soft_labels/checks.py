"""What makes a teacher or a recording unfit: each check raises a SoftLabelError that says why."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distilrec.data import Interactions
from distilrec.errors import SoftLabelError
from distilrec.scoring import DotProduct, Queries, Ragged, Recommender

__all__ = [
    "DeclaresTraining",
    "check_factors",
    "check_held_out",
    "check_items",
    "check_left_out",
    "check_queries",
    "check_scores",
    "check_spread",
    "check_states",
    "check_teacher",
    "check_training_data",
]

# More constant rows than this, and the teacher is broken rather than at a loss about some users.
MOST_CONSTANT = 0.5
_ROWS_AT_ONCE = 65_536


@runtime_checkable
class DeclaresTraining(Protocol):
    """A teacher that says which data it was trained on."""

    training_fingerprint: str


def check_teacher(teacher: object) -> None:
    """Refuse what isn't asked for scores as a Recommender is."""
    lacks = [name for name in ("n_items", "scores_are_logits", "score") if not hasattr(teacher, name)]
    if lacks:
        raise SoftLabelError(
            f"record: the teacher, a {type(teacher).__name__}, lacks {', '.join(lacks)}; a teacher has `n_items`, "
            "`scores_are_logits` and `score(queries)`, which gives a tensor of shape (queries, items)"
        )


def check_left_out(left_out: NDArray[np.bool_], n_items: int) -> None:
    """Refuse marks of items to leave out that aren't one for each item, or that leave none to tell of."""
    if left_out.shape != (n_items,) or left_out.dtype != np.bool_ or left_out.all():
        raise SoftLabelError(
            f"record: left_out is {left_out.dtype} of shape {left_out.shape} with {int(left_out.sum())} marks; give a "
            f"bool for each of the teacher's {n_items} items, and leave some to tell of"
        )


def check_queries(queries: Queries, query_ids: NDArray[Any], n_items: int) -> None:
    """Refuse ids that aren't one distinct integer per query, and histories with items out of range."""
    if query_ids.shape != (len(queries),) or query_ids.dtype.kind not in "iu":
        raise SoftLabelError(
            f"record: expected one integer query id for each of the {len(queries)} queries, "
            f"given {query_ids.dtype} of shape {query_ids.shape}"
        )
    if len(queries) == 0:
        raise SoftLabelError("record: no queries, so there is nothing to record; check the training part")
    if len(np.unique(query_ids)) < len(query_ids):
        raise SoftLabelError("record: query ids repeat, so a query would find another's labels; make them distinct")
    for rows in {id(part): part for part in (queries.histories, queries.masked)}.values():
        values = rows.values
        if len(values) > 0 and (values.min() < 0 or values.max() >= n_items):
            raise SoftLabelError(
                f"record: histories hold items {values.min()}..{values.max()}, but the teacher knows "
                f"0..{n_items - 1}; was it trained on another catalogue?"
            )


def check_training_data(teacher: object, data_fingerprint: str) -> None:
    """Refuse a teacher that declares another training fingerprint than that of the recorded queries."""
    if isinstance(teacher, DeclaresTraining) and teacher.training_fingerprint != data_fingerprint:
        raise SoftLabelError(
            f"record: the teacher declares training data {teacher.training_fingerprint}, but the training "
            f"part is {data_fingerprint}; it may have seen validation or test rows, so train it on this split"
        )


def check_held_out(queries: Queries, held_out: Interactions) -> None:
    """Refuse queries whose histories, or masks, hold an interaction of the validation or test part.

    Where both share one log's arrays, positions are compared, and so a user may take an item again that is
    held out. Else pairs of user and item are; users of -1 can't be checked then, and repeated pairs must be
    taken out of `held_out` first.
    """
    for rows in {id(part): part for part in (queries.histories, queries.masked)}.values():
        shared = rows.values is held_out.histories.values
        leaks = _shared_positions(rows, held_out) if shared else _shared_pairs(rows, queries.users, held_out)
        if leaks.any():
            first = int(np.argmax(leaks))
            raise SoftLabelError(
                f"record: {int(leaks.sum())} of {len(leaks)} queries hold validation or test interactions, "
                f"the first at place {first}, user {queries.users[first]}; the student would be tested on "
                "what it was taught. Record queries of the training part only"
            )


def _shared_positions(rows: Ragged, held_out: Interactions) -> NDArray[np.bool_]:
    """(B,) bool: whether a row reaches over a held-out position of the same array."""
    marks = np.zeros(len(rows.values), dtype=np.int64)
    marks[held_out.flat()[1]] = 1
    before = np.concatenate([[0], np.cumsum(marks)])
    leaks: NDArray[np.bool_] = before[rows.stops] > before[rows.starts]
    return leaks


def _shared_pairs(rows: Ragged, users: NDArray[np.int32], held_out: Interactions) -> NDArray[np.bool_]:
    """(B,) bool: whether a row holds an item that is held out for its user."""
    owners, items = held_out.histories.flat()
    keys = np.unique(owners * held_out.n_items + items)
    leaks = np.zeros(len(rows), dtype=np.bool_)
    if len(keys) == 0:
        return leaks
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        places, items = rows[start : start + _ROWS_AT_ONCE].flat()
        owners = users[start + places].astype(np.int64)
        asked = np.where(owners >= 0, owners * held_out.n_items + items, -1)
        found = keys[np.minimum(np.searchsorted(keys, asked), len(keys) - 1)] == asked
        leaks[start + places[found]] = True
    return leaks


def check_scores(scores: Tensor, queries: Queries, n_items: int) -> None:
    """Refuse scores that are no tensor, or of another shape than (B, N), NaN and infinity."""
    _check_tensor(scores, "score(queries)")
    if tuple(scores.shape) != (len(queries), n_items):
        raise SoftLabelError(
            f"record: the teacher's scores have shape {tuple(scores.shape)}, expected "
            f"{(len(queries), n_items)} for (queries, items); items out of this range can't be recommended"
        )
    # The extremes are NaN where any score is, and take a twentieth of the time of looking at each.
    if not torch.stack(torch.aminmax(scores)).isfinite().all():
        row, item = (int(place) for place in (~scores.isfinite()).nonzero()[0])
        raise SoftLabelError(
            f"record: the teacher gives item {item} the score {scores[row, item].item()} for user "
            f"{queries.users[row]}; the student would learn NaN. Give items that it doesn't know a low number; a "
            "model that has diverged needs a lower learning rate"
        )


def _check_tensor(given: object, what: str) -> None:
    if not isinstance(given, Tensor):
        raise SoftLabelError(
            f"record: the teacher's {what} is a {type(given).__name__}, expected a torch.Tensor; "
            "torch.from_numpy makes one of a NumPy array"
        )


def check_states(states: Tensor, n_queries: int, width: int) -> None:
    """Refuse hidden states that are no tensor, or of another shape than (B, D), NaN and infinity."""
    _check_tensor(states, "hidden(queries)")
    if tuple(states.shape) != (n_queries, width) or not bool(states.isfinite().all()):
        raise SoftLabelError(
            f"record: expected finite hidden states of shape {(n_queries, width)}, given "
            f"{tuple(states.shape)} with {int((~states.isfinite()).sum())} NaN or infinite; "
            "check the teacher's `hidden` and `width`"
        )


def check_spread(scores: Tensor) -> None:
    """Refuse a teacher that scores all items alike for most queries; scores: (B, N)."""
    if scores.shape[1] < 2:
        return
    constant = float((scores.amax(1) == scores.amin(1)).float().mean())
    if constant > MOST_CONSTANT:
        raise SoftLabelError(
            f"record: the teacher scores all items alike for {constant:.0%} of {len(scores)} queries; it "
            "teaches nothing. Is it trained, and does it know these users?"
        )


def check_factors(teacher: Recommender, queries: Queries) -> None:
    """Refuse a teacher whose score isn't hidden @ item_vectors.T + item_bias."""
    if not isinstance(teacher, DotProduct):
        raise SoftLabelError(
            f"record: kind 'factored' needs a teacher with hidden, item_vectors and item_bias, which "
            f"{type(teacher).__name__} lacks; record it with kind 'topk' or 'full'"
        )
    with torch.inference_mode():
        states, vectors, bias = teacher.hidden(queries), teacher.item_vectors(), teacher.item_bias()
        check_states(states, len(queries), teacher.width)
        check_items(teacher, vectors, bias)
        product = states @ vectors.T if bias is None else states @ vectors.T + bias
        scores = teacher.score(queries)
        error = float((product - scores).abs().max())
    if error > 1e-3 * (1.0 + float(scores.abs().max())):
        raise SoftLabelError(
            f"record: the teacher's score is up to {error:.3g} off hidden @ item_vectors.T + item_bias; "
            "its factors say something else than its lists, so correct one of them"
        )


def check_items(teacher: DotProduct, vectors: Tensor, bias: Tensor | None) -> None:
    """Refuse item vectors of another shape than (N, D), and biases of another than (N,)."""
    _check_shape(vectors, "item_vectors()", (teacher.n_items, teacher.width))
    if bias is not None:
        _check_shape(bias, "item_bias()", (teacher.n_items,))


def _check_shape(given: Tensor, what: str, shape: tuple[int, ...]) -> None:
    _check_tensor(given, what)
    if tuple(given.shape) != shape:
        raise SoftLabelError(
            f"record: the teacher's {what} has shape {tuple(given.shape)}, expected {shape}; correct it, `n_items` or "
            "`width`"
        )
