"""From scores to top lists and per-query metrics: what early stopping and evaluation share.

Scores are made, masked and ranked one block of queries at a time, so memory stays bounded and no array of
all users by all items exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distilrec.errors import ModelError
from distilrec.metrics import Metric
from distilrec.scoring import DotProduct, Queries, Ragged, Recommender

__all__ = ["AUC", "Restricted", "evaluate", "queries_at_once", "rank", "score_pairs", "scorer", "top_k"]

AUC = "auc"
# glibc gives blocks of 32 MiB and more back to the system at once, and each next one is paged in anew: that takes
# as long as the matrix product of a few queries. Fewer than 64 queries are worse still: all item vectors are read for
# each block. So blocks have 64 queries at least, unless that takes more than 62 MiB.
BLOCK_BYTES, LARGEST_BLOCK_BYTES = 31 * 2**20, 62 * 2**20
FEWEST_QUERIES = 64
# With fewer, what each block costs by itself tells on small catalogues (measured from 1.7 to 8 thousand items); with
# more, the scores leave the cache, and models that read histories hold the states of each query, too.
MOST_QUERIES = 1024
# Lists compared with the targets at once: few enough to stay small, so many that NumPy's overhead vanishes.
LISTS_AT_ONCE = 2**13


def queries_at_once(n_items: int) -> int:
    """How many queries are scored at once: as many as make 31 MiB of scores, or 64 if those make at most 62 MiB.

    >>> queries_at_once(1_000), queries_at_once(500_000), queries_at_once(10_000_000)
    (1024, 32, 1)
    """
    row = 4 * n_items
    return max(1, min(MOST_QUERIES, max(BLOCK_BYTES // row, min(FEWEST_QUERIES, LARGEST_BLOCK_BYTES // row))))


def top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k highest scores of each row and their items, best first; of equal scores the smaller item first.

    scores: (B, N), no NaN; -inf is a score like others. k: in 1..N.
    Returns values (B, k) and items (B, k) int64. Exact and deterministic; ``torch.topk`` leaves ties open.

    >>> values, items = top_k(torch.tensor([[1.0, 3.0, 1.0, 3.0]]), 3)
    >>> values.tolist(), items.tolist()
    ([[3.0, 3.0, 1.0]], [[1, 3, 0]])
    """
    n_items = scores.shape[1]
    if not 1 <= k <= n_items:
        raise ValueError(f"top_k: k must lie in 1..{n_items}, the number of items, given {k}")
    # One value more than asked for shows whether a tie straddles the cut.
    values, items = _largest(scores, min(k + 1, n_items))
    equal = values[:, 1:] == values[:, :-1]
    values, items = values[:, :k], items[:, :k]
    tied = equal.any(1).nonzero().squeeze(1)
    if len(tied) == 0:
        return values, items
    cut = equal[:, k - 1].nonzero().squeeze(1) if k < n_items else tied[:0]
    if len(cut) > 0:
        items[cut] = _smallest_at_cut(scores[cut], values[cut], items[cut])
    tied_items, order = items[tied].sort(dim=1)
    values[tied], order = values[tied].gather(1, order).sort(dim=1, descending=True, stable=True)
    items[tied] = tied_items.gather(1, order)
    return values, items


def _largest(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """What torch.topk returns (ties aside), two to six times faster for many items.

    Items are grouped by eight or sixteen: item i belongs to group i modulo the number of groups, so that maxima are
    taken along whole rows. The k largest scores, or equal ones, lie in the k groups with the largest maxima,
    which are found in the same way, and in the last few items that fill no group.
    """
    n_rows, n_items = scores.shape
    # Measured; with fewer groups than that for each of the k, torch.topk is quicker.
    size, fewest = (16, 16) if k <= 16 else (8, 4)
    n_groups = n_items // size
    if n_groups < fewest * k:
        return scores.topk(k)
    grouped = n_groups * size
    maxima = scores[:, :grouped].view(n_rows, size, n_groups).amax(1)
    groups = _largest(maxima, k)[1].unsqueeze(2)  # (B, k, 1)
    members = groups + torch.arange(0, grouped, n_groups, device=scores.device)  # (B, k, size)
    rest = torch.arange(grouped, n_items, device=scores.device).expand(n_rows, -1)
    candidates = torch.cat([members.flatten(1), rest], dim=1)
    values, places = scores.gather(1, candidates).topk(k)
    return values, candidates.gather(1, places)


def _smallest_at_cut(scores: Tensor, values: Tensor, items: Tensor) -> Tensor:
    """Replace the items that tie with the last one by the smallest items of that score.

    scores: (R, N). values, items: (R, k). Returns items (R, k).
    """
    (n_items, k), last = (scores.shape[1], values.shape[1]), values[:, -1:]
    numbers = torch.arange(n_items, dtype=torch.int32, device=scores.device)
    smallest = -_largest(torch.where(scores == last, -numbers, -n_items), k)[0]  # (R, k), ascending
    above = values > last
    place = torch.arange(k, device=scores.device) - above.sum(1, keepdim=True)
    return torch.where(above, items, smallest.long().gather(1, place.clamp(min=0)))


@torch.inference_mode()
def rank(
    model: Recommender, queries: Queries, k: int, *, filter_seen: bool = True, batch_size: int | None = None
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The top list of each query: items (Q, k) int32 and scores (Q, k) float32, best first.

    k: at least 1. filter_seen: leave out the items in ``queries.masked``. batch_size: queries scored at
    once; None takes `queries_at_once`.
    Where fewer than k items are left, the list ends in items -1 with score -inf. The model may rule out items
    by a score of -inf. Raises ModelError on NaN, +inf, or scores of another shape.
    The array that the model returns is masked in place.
    """
    items = np.full((len(queries), k), -1, dtype=np.int32)
    values = np.full((len(queries), k), -np.inf, dtype=np.float32)
    for part, scores in _blocks(model, queries, filter_seen, batch_size):
        width = min(k, model.n_items)
        items[part, :width], values[part, :width] = _lists(scores, width, model)
    return items, values


@torch.inference_mode()
def evaluate(
    model: Recommender,
    queries: Queries,
    targets: Ragged,
    metrics: Sequence[str | Metric] = ("ndcg@10",),
    *,
    filter_seen: bool = True,
    batch_size: int | None = None,
) -> dict[str, NDArray[np.float64]]:
    """One value per query, (Q,) float64, for each metric, by its name, over the full catalogue.

    targets: Q rows of relevant items; repeated ones count once. metrics: names such as ``ndcg@10``, ``auc``,
    or Metric objects. filter_seen, batch_size: as in `rank`.
    A target that filter_seen masks can't be found: it counts as a miss, and as ranked below everything in the
    AUC. Raises ModelError as `rank` does, RecipeError on an unknown metric.
    """
    if len(targets) != len(queries):
        raise ValueError(
            f"evaluate: expected targets for each of the {len(queries)} queries, given {len(targets)} rows"
        )
    wanted = [Metric.parse(m) if isinstance(m, str) else m for m in metrics if m != AUC]
    depth = max((m.k for m in wanted), default=0)
    width = min(depth, model.n_items)
    lists = np.full((len(queries), depth), -1, dtype=np.int32)
    results = {str(m): np.empty(len(queries)) for m in metrics}
    for part, scores in _blocks(model, queries, filter_seen, batch_size):
        if depth > 0:
            lists[part, :width] = _lists(scores, width, model)[0]
        if AUC in results:
            _check_finite(scores.amax(1), model)
            results[AUC][part] = _ranking_auc(scores, *_distinct(targets[part], model.n_items))
    for part in _parts(len(queries), LISTS_AT_ONCE):
        rows, items = _distinct(targets[part], model.n_items)
        hits = _hits(lists[part], rows, items, model.n_items)
        n_relevant = np.bincount(rows, minlength=len(hits))
        for metric in wanted:
            results[str(metric)][part] = metric(hits, n_relevant)
    return results


@torch.inference_mode()
def score_pairs(
    model: Recommender, queries: Queries, items: Ragged, *, batch_size: int | None = None
) -> NDArray[np.float32]:
    """The score of some items for each query: (T,) float32, row by row, for items (Q rows, T in all).

    Nothing is masked. batch_size: as in `rank`. Raises ModelError where a score isn't finite.
    """
    if len(items) != len(queries):
        raise ValueError(f"score_pairs: expected items for each of the {len(queries)} queries, given {len(items)} rows")
    found = [np.empty(0, np.float32)]
    for part, scores in _blocks(model, queries, False, batch_size):
        keys = torch.from_numpy(_keys(*items[part].flat(), model.n_items, "the items to score"))
        found.append(scores.view(-1)[keys.to(scores.device)].float().cpu().numpy())
    values = np.concatenate(found)
    if not np.isfinite(values).all():
        raise ModelError(f"{type(model).__name__}.score returned NaN or infinity; the model has probably diverged")
    return values


def scorer(model: Recommender, size: int) -> Callable[[Queries], Tensor]:
    """What `model.score` gives for at most `size` queries at a time, until the next call overwrites it.

    Dot products are made in one place again and again: large blocks of fresh memory cost more than the product.
    """
    if not isinstance(model, DotProduct):
        return model.score
    vectors, bias = model.item_vectors(), model.item_bias()
    place: Tensor | None = None

    def score(queries: Queries) -> Tensor:
        nonlocal place
        hidden = model.hidden(queries)
        if place is None:
            place = hidden.new_empty((size, len(vectors)))
        scores = place[: len(queries)]
        if bias is None:
            return torch.mm(hidden, vectors.T, out=scores)
        return torch.addmm(bias, hidden, vectors.T, out=scores)

    return score


@dataclass(frozen=True)
class Restricted:
    """A model that rules out all items but some: (n,) item indices."""

    model: Recommender
    allowed: NDArray[np.integer]

    @property
    def n_items(self) -> int:
        """N, ruled out or not."""
        return self.model.n_items

    @property
    def scores_are_logits(self) -> bool:
        """As the model's."""
        return self.model.scores_are_logits

    def score(self, queries: Queries) -> Tensor:
        """(B, N) float32: -inf for what is ruled out."""
        scores = self.model.score(queries)
        allowed = torch.from_numpy(self.allowed).long().to(scores.device)
        return torch.full_like(scores, -torch.inf).index_copy_(1, allowed, scores[:, allowed])


def _parts(length: int, size: int) -> Iterator[slice]:
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))


def _blocks(
    model: Recommender, queries: Queries, filter_seen: bool, batch_size: int | None
) -> Iterator[tuple[slice, Tensor]]:
    """Score the queries a block at a time, with -inf in the place of what a query has seen."""
    n_items = model.n_items
    size = batch_size or queries_at_once(n_items)
    score = scorer(model, size)
    for part in _parts(len(queries), size):
        scores = score(queries[part])
        expected = (part.stop - part.start, n_items)
        if scores.shape != expected:
            raise ModelError(
                f"{type(model).__name__}.score: expected shape {expected} (queries, items), given {tuple(scores.shape)}"
            )
        scores = scores.contiguous()
        if filter_seen:
            rows, items = queries.masked[part].flat()
            seen = torch.from_numpy(_keys(rows, items, n_items, "the items to mask"))
            scores.view(-1).index_fill_(0, seen.to(scores.device), -torch.inf)
        yield part, scores


def _lists(scores: Tensor, k: int, model: Recommender) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The top lists of a block of scores, (B, k) each; item -1 where the score is -inf."""
    values, items = top_k(scores, k)
    _check_finite(values[:, 0], model)
    items = items.masked_fill(values == -torch.inf, -1)
    return items.cpu().numpy().astype(np.int32), values.float().cpu().numpy()


def _check_finite(highest: Tensor, model: Recommender) -> None:
    # A maximum is NaN where any score is, so the highest score of each query tells of all.
    if not bool((highest < torch.inf).all()):
        raise ModelError(
            f"{type(model).__name__}.score returned NaN or +inf; the model has probably diverged: "
            "lower its learning rate, or check the features that it reads"
        )


def _keys(rows: NDArray[np.int64], items: NDArray[np.int32], n_items: int, where: str) -> NDArray[np.int64]:
    """(T,) int64: the place of each (row, item) in a flat (B, N) block."""
    if len(items) > 0 and (items.min() < 0 or items.max() >= n_items):
        raise ValueError(
            f"ranking: {where} hold {items.min()}..{items.max()}, but the model knows "
            f"0..{n_items - 1}; was it trained on another catalogue?"
        )
    return rows * n_items + items


def _distinct(targets: Ragged, n_items: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and item of each distinct target, ordered by both: two arrays (T,) int64."""
    keys = np.sort(_keys(*targets.flat(), n_items, "the targets"))
    keys = keys[np.diff(keys, prepend=-1) > 0]
    return keys // n_items, keys % n_items


def _hits(
    lists: NDArray[np.int32], rows: NDArray[np.int64], items: NDArray[np.int64], n_items: int
) -> NDArray[np.bool_]:
    """(B, k) bool: whether each listed item is a target of its row; a -1 never is."""
    # One column more than items, so that the -1 of a row isn't the last item of the row before.
    relevant = rows * (n_items + 1) + items
    listed = np.arange(len(lists))[:, None] * (n_items + 1) + np.where(lists < 0, n_items, lists)
    if len(relevant) == 0:
        return np.zeros(lists.shape, dtype=np.bool_)
    place = np.searchsorted(relevant, listed)
    found: NDArray[np.bool_] = relevant[np.minimum(place, len(relevant) - 1)] == listed
    return found


def _ranking_auc(scores: Tensor, rows: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.float64]:
    """(B,) float64: mean over the targets of the share of unmasked other items ranked below, ties as half.

    Equals the area under the ROC curve over the unmasked items, where no target is masked. 0.5 where a
    query has no target, or nothing but targets. Overwrites the targets' scores.
    """
    n_relevant = np.bincount(rows, minlength=len(scores))
    width = max(1, int(n_relevant.max()))
    columns = np.arange(len(rows)) - np.repeat(np.cumsum(n_relevant) - n_relevant, n_relevant)
    where = torch.from_numpy(rows).to(scores.device), torch.from_numpy(columns).to(scores.device)
    keys = torch.from_numpy(rows * scores.shape[1] + items).to(scores.device)
    marks = scores.new_full((len(scores), width), torch.inf)  # (B, T), padded with what no item reaches
    marks[where] = scores.view(-1)[keys]
    marks = marks.sort(dim=1).values
    scores.view(-1).index_fill_(0, keys, -torch.inf)
    others = (scores > -torch.inf).sum(1)
    # For each item the number of targets under it; the sum over items counts the pairs in the wrong order.
    below = torch.searchsorted(marks, scores, out_int32=True).sum(1)
    not_above = torch.searchsorted(marks, scores, out_int32=True, right=True).sum(1)
    # A masked target, at -inf, is "not above" the masked items either: leave those pairs out.
    masked_targets = (marks == -torch.inf).sum(1)
    not_above -= masked_targets * (scores == -torch.inf).sum(1)
    pairs = (others * torch.from_numpy(n_relevant).to(scores.device)).cpu().numpy()
    wrong = 0.5 * (below + not_above).cpu().numpy()
    return np.where(pairs > 0, 1.0 - wrong / np.maximum(pairs, 1), 0.5)
