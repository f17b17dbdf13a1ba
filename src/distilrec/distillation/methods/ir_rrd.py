"""Relaxed ranking distillation with lists of users, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from distilrec.distillation.draw import places_by_rank, some
from distilrec.distillation.item_lists import ItemLists, encode_users, item_lists
from distilrec.distillation.method import Need, Setting, Step, Term
from distilrec.distillation.methods.rrd import ListSettings, list_loss
from distilrec.losses.ranking import plackett_luce
from distilrec.models import look_up, pair_scores

__all__ = ["IRRRD"]


class IRRRD(ListSettings):
    """RRD, and the same loss over users: the teacher's order of an item's best users, and that they come before others.

    interesting, uninteresting, pool, sharpness: of the lists of items, as in `RRD`.
    item_weight: of the lists of users, beside the lists of items. users: ranked users of an item, drawn as the items
    are from the teacher's best `user_pool`, who exclude those who took it, by `user_sharpness`. other_users: drawn at
    each step from all others; they come below in any order.

    Source: Kang, Hwang, Kweon and Yu, Information Sciences 580, 2021, and its code, whose defaults these are but for
    the pools.
    Deviations from the code: those of `RRD`, for users as for items. Both parts are means; theirs are sums over
    queries and places times 1e-3, and over items and places times 5e-4. In means, theirs is an `item_weight` of 1/4 of
    the number of different items in the batch's lists per query, where ours is 1/2. Of these items we draw so many as
    there are queries, where theirs takes all, which may be most of the catalogue. Other users are drawn with
    replacement; who took the item or is listed drops out.
    Only users whom the store holds are listed. The lists are built once (`distilrec.distillation.item_lists`). A step
    encodes their users, too: for LightGCN that is one more pass over the graph.
    """

    pooled: ClassVar[Mapping[str, str]] = {"interesting": "pool", "users": "user_pool"}

    method: Literal["ir_rrd"] = "ir_rrd"
    item_weight: float = Field(default=0.5, ge=0)
    users: int = Field(default=20, ge=1)
    other_users: int = Field(default=20, ge=0)
    user_pool: int = Field(default=100, ge=1)
    user_sharpness: float = Field(default=10.0, gt=0)

    @property
    def needs(self) -> tuple[Need, ...]:  # type: ignore[override]
        """Users and their order by the teacher's vectors, besides."""
        return ("users", "item_vectors", *super().needs)

    def term(self, setting: Setting) -> Term:
        """See `Method.term`."""
        return _Term(self, item_lists(setting.labels, setting.log, self.user_pool))


class _Term(Term):
    def __init__(self, method: IRRRD, lists: ItemLists) -> None:
        super().__init__()
        self.method, self.lists = method, lists

    def forward(self, step: Step) -> Tensor:
        loss, items, mask = list_loss(step, self.method)
        present = torch.bincount(items[mask]).nonzero().squeeze(1).cpu().numpy()
        if len(present) == 0:
            return loss
        return loss + self.method.item_weight * self.over_users(step, some(present, len(step.hidden), step.rng))

    def over_users(self, step: Step, items: NDArray[np.int64]) -> Tensor:
        """The list loss over users of items (I,)."""
        method, best = self.method, torch.from_numpy(self.lists.users[items])
        chosen = best.gather(1, places_by_rank(best >= 0, method.users, method.user_sharpness, step.rng)).numpy()
        others, free = self.lists.draw_others(items, method.other_users, step.rng)
        mask = step.student.tensor(np.concatenate([chosen >= 0, free], axis=1))
        unique, places = np.unique(np.concatenate([chosen.clip(min=0), others], axis=1), return_inverse=True)
        # An item's bias is the same for all users, so it has no say in their order.
        vectors = look_up(step.item_vectors, step.student.tensor(items))
        rows = torch.arange(len(items), device=vectors.device)
        scores = pair_scores(vectors, encode_users(step.student, unique), rows, step.student.tensor(places))
        # Users come in the teacher's order; where the list ends early, there are no others.
        return plackett_luce(scores, torch.zeros_like(scores), mask, listed=chosen.shape[1])
