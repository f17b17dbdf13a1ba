"""Several unlike teachers' lists, from easy to hard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from distilrec.data import seen_at
from distilrec.distillation.draw import OTHERS, as_lists
from distilrec.distillation.method import Method, Need, Setting, Step, Term
from distilrec.distillation.ranks import highest
from distilrec.distillation.union import Lists, vote
from distilrec.errors import SoftLabelError
from distilrec.losses.ranking import listed_first, plackett_luce
from distilrec.soft_labels import SoftLabels

__all__ = ["HetComp"]

_ANNEALING = 0.995
LEAST = 1e-12  # of points, lest far down the list they are as few as those of items that nobody listed


class HetComp(Method):
    """The members' lists made one; for each query and member first an early checkpoint's, then later ones'.

    pool: K, items of each list, and of the one that they make: an item has exp(-rank / sharpness) points of each. The
    student learns that the K items of the most points come before all others of the lists and the first member's
    sample (`listed_first`); once all members of a query have come to their last checkpoint, the order of the K / 2 and
    of the K / 10 best (the mean of two list losses).

    A member goes on to its next checkpoint for a query when the student has caught up: d, its discrepancy from that
    next checkpoint, measured in every so manieth epoch (`every`), has fallen to less than 1 / (catch_up 0.995^n) of
    what it was when the member came to where it stands, n the measurements so far; or when it has risen. d = 1 minus
    the discounted gain of those of the student's `compared` best items that the checkpoint's list holds, over all items
    not seen; ranks gain 2^exp(-rank / 10) - 1.

    Measuring ranks all items for the student and reads two more lists of each member; such an epoch takes about twice
    as long as another.

    Source: Kang et al., HetComp, WWW 2023, after its public code, whose K is 100, `compared` 50, catch_up 1.05, and
    `every` 10, in trainings of hundreds of epochs.
    Deviations: the code's points are precomputed (its equation 8 isn't in it); those here are our choice. Its finer
    objective begins for all users at once, when 99.5 % of the checkpoints' positions are at the end; here for each
    query. It compares with the sum over all other items, and ranks the observed positives, too, by the teachers; here
    true labels are a loss of their own. Its student is measured after the epoch, here as the batch finds it, dropout
    included. Means take the place of its sums (times 0.01, then 0.005).
    """

    method: Literal["hetcomp"] = "hetcomp"
    needs: ClassVar[tuple[Need, ...]] = ("members", "checkpoints", "unlisted")

    pool: int = Field(default=100, ge=2)
    sharpness: float = Field(default=10.0, gt=0)
    compared: int = Field(default=50, ge=1)
    catch_up: float = Field(default=1.05, ge=1)
    every: int = Field(default=2, ge=1)

    @property
    def listed(self) -> int:
        """The pool."""
        return max(self.pool, self.compared)

    def check(self, setting: Setting) -> None:
        """Raise SoftLabelError also where nothing would come below the pool."""
        if self.pool >= setting.log.n_items:
            raise SoftLabelError(
                f"hetcomp: its pool of {self.pool} holds all {setting.log.n_items} items, so nothing comes below it; "
                "set `pool` to fewer"
            )
        super().check(setting)

    def term(self, setting: Setting) -> Term:
        """See `Method.term`."""
        return _Term(self, setting)


class _Term(Term):
    """position: (R, M), the checkpoint of each query of the store and member. distance: (R, M), the discrepancy from
    the next one when it came there, -1 before it is measured. measured: (R,), the epoch of the last time."""

    position: Tensor
    distance: Tensor
    measured: Tensor

    def __init__(self, method: HetComp, setting: Setting) -> None:
        super().__init__()
        self.method, self.log = method, setting.log
        self.last = torch.tensor([len(recordings) - 1 for recordings in setting.members.values()])
        size = len(setting.labels), len(setting.members)
        self.register_buffer("position", torch.zeros(size, dtype=torch.int16))
        self.register_buffer("distance", torch.full(size, -1.0))
        self.register_buffer("measured", torch.zeros(size[0], dtype=torch.int32))

    def forward(self, step: Step) -> Tensor:
        if step.epoch % self.method.every == 0:
            with torch.no_grad():
                self._go_on(step)
        known = torch.from_numpy(step.rows >= 0).unsqueeze(1)
        position = torch.where(known, self.position[step.rows.clip(0)].long(), self.last)  # (P, M)
        device, ids = step.hidden.device, step.batch.query_ids
        teachers = list(step.members.values())
        pool = self.method.pool
        lists = [self._lists(each, ids, position[:, m], device, pool) for m, each in enumerate(teachers)]
        first = as_lists(step.recorded(teachers[0][-1]), pool, OTHERS, step.rng)
        ranks = torch.arange(pool)
        points = torch.exp(-ranks / self.method.sharpness) + LEAST * (1 - ranks / pool)
        union, votes = vote(lists, (first.tail_items, first.tail_mask), [1.0] * len(lists), points)
        done = (position == self.last).all(1).to(device)
        return self._loss(step.scores(union.items), votes, union.mask, done, step.weights)

    def _loss(self, student: Tensor, votes: Tensor, mask: Tensor, done: Tensor, weights: Tensor) -> Tensor:
        """The mean over queries: of the finer objective for those that are done (P,), of the coarse one for others."""
        some, k = mask.any(1), self.method.pool
        loss = student.sum() * 0.0
        for chosen, lengths, objective in (
            (some & ~done, (k,), listed_first),
            (some & done, (max(k // 2, 1), max(k // 10, 1)), plackett_luce),
        ):
            if bool(chosen.any()):
                parts = [part[chosen] for part in (student, votes, mask)]
                w = weights[chosen]
                share = w.sum() / weights[some].sum().clamp(min=torch.finfo(w.dtype).tiny)
                loss = loss + share * torch.stack([objective(*parts, listed=n, weights=w) for n in lengths]).mean()
        return loss

    def _go_on(self, step: Step) -> None:
        """Measure the batch's queries, each once an epoch, and let members go on where the student has caught up."""
        rows = torch.from_numpy(step.rows)
        open_ = (self.position[rows.clip(0)] < self.last).any(1) & (self.measured[rows.clip(0)] != step.epoch)
        places = torch.nonzero((rows >= 0) & open_).flatten()
        if len(places) == 0:
            return
        rows, ids = rows[places], step.batch.query_ids[places.numpy()]
        best = self._best(step, places, ids)
        threshold = self.method.catch_up * _ANNEALING ** (step.epoch // self.method.every)
        for m, recordings in enumerate(step.members.values()):
            now, before = self.position[rows, m].long(), self.distance[rows, m]
            if bool((now == self.last[m]).all()):
                continue
            left = self._discrepancy(best, recordings, ids, now)
            ratio = before / left.clamp(min=1e-9)
            goes = (now < self.last[m]) & (before >= 0) & ((ratio > threshold) | (ratio < 1))
            now = now + goes
            left = torch.where(goes, self._discrepancy(best, recordings, ids, now), left)
            self.position[rows, m] = now.to(self.position.dtype)
            self.distance[rows, m] = torch.where(goes | (before < 0), left, before)
        self.measured[rows] = step.epoch

    def _discrepancy(
        self, best: Tensor, recordings: Sequence[SoftLabels], ids: NDArray[np.int64], position: Tensor
    ) -> Tensor:
        """(P,): of the student's best items (P, k) from each member's next checkpoint."""
        following = (position + 1).clamp(max=len(recordings) - 1)
        return discrepancy(best, *self._lists(recordings, ids, following, best.device, self.method.compared)).cpu()

    def _lists(
        self,
        recordings: Sequence[SoftLabels],
        ids: NDArray[np.int64],
        position: Tensor,
        device: torch.device,
        width: int,
    ) -> Lists:
        """Items and mask (P, width) of a member's lists, each query's from the checkpoint of its position (P,)."""
        width = min(width, *(labels.manifest.n_items for labels in recordings))
        items = torch.zeros(len(ids), width, dtype=torch.int64)
        mask = torch.zeros(len(ids), width, dtype=torch.bool)
        for checkpoint, labels in enumerate(recordings):
            chosen = torch.nonzero(position == checkpoint).flatten()
            if len(chosen):
                batch = labels.batch(labels.rows(ids[chosen.numpy()]))
                items[chosen], _, mask[chosen] = batch.best(width)
        return items.to(device), mask.to(device)

    def _best(self, step: Step, places: Tensor, ids: NDArray[np.int64]) -> Tensor:
        """(p, compared) int64: the student's best items for these of the batch's queries, among those not seen."""
        labels = next(iter(step.members.values()))[-1]
        manifest = labels.manifest
        vectors, bias = step.item_vectors[: manifest.n_items], step.student.item_bias()
        known = None if bias is None else bias[: manifest.n_items]
        hidden = step.hidden[places.to(step.hidden.device)]
        seen = seen_at(self.log, ids) if manifest.filter_seen else None
        return highest(hidden, vectors, known, self.method.compared, seen, labels.left_out)[0]


def discrepancy(best: Tensor, items: Tensor, mask: Tensor) -> Tensor:
    """(P,) in [0, 1]: 1 minus the discounted gain of the best items (P, k), best first, that a list (P, C) holds.

    >>> listed = torch.tensor([[3, 5]]), torch.ones(1, 2, dtype=torch.bool)
    >>> [round(discrepancy(torch.tensor([best]), *listed).item(), 6) for best in ([5, 3], [1, 2])]
    [0.0, 1.0]
    """
    held = ((best.unsqueeze(2) == items.unsqueeze(1)) & mask.unsqueeze(1)).any(2)  # (P, k)
    ranks = torch.arange(best.shape[1], device=best.device)
    gains = (2 ** torch.exp(-ranks / 10) - 1) / torch.log2(ranks + 2.0)
    return 1 - (held * gains).sum(1) / gains.sum()
