"""What models that read histories share: windows, and one pass for all prefixes of a history."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from distilrec.data import Batch, Batches, Interactions, SequenceBatches
from distilrec.errors import ModelError
from distilrec.models.base import DotProductModel, Supervision, VectorConfig
from distilrec.models.placement import Placement
from distilrec.models.tower import Catalogue, ContentConfig, ContentMaps, ItemTower
from distilrec.scoring import Queries, Ragged

__all__ = ["SequenceConfig", "SequenceModel"]

PLACES_PER_PASS = 25_600
AS_NEW = 0.8  # share of items that are known by their content while new ones are placed


class SequenceConfig(VectorConfig):
    """Settings of models that read histories.

    history_length: L, how many of the last items are read. dropout: share of each vector's values that is
    dropped in training. init_std: standard deviation of the first item vectors. content: how items are known, where it
    isn't by their ids alone.
    """

    history_length: int = Field(default=50, ge=1)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    init_std: float = Field(default=0.02, gt=0)
    content: ContentConfig | None = None


class SequenceModel(DotProductModel):
    """A causal model: the state at a place depends on the items up to it, and on how far back each one lies.

    Positions are relative, so a history's prefixes are all read in one pass, and padding goes to the right,
    where no state sees it. Where it knows its items by content, their vectors are made anew in each training step, and
    kept once it is trained.
    """

    def __init__(self, config: SequenceConfig, n_users: int, n_items: int, catalogue: Catalogue | None = None) -> None:
        super().__init__(config, n_users, n_items)
        self.history_length = config.history_length
        self.tower: ContentMaps | None = None
        self.items: Tensor
        if config.content is None:
            self.items = nn.Parameter(torch.randn(n_items, config.embedding_size) * config.init_std)
        else:
            wide = config.embedding_size + config.item_bias  # an item's bias is told by its content, too
            maps = Placement if config.content.new_only else ItemTower
            self.tower = maps(config.content, n_items, wide, config.init_std, catalogue)
            self.register_buffer("items", torch.zeros(n_items, wide))
            self.bias = None
            config = config.model_copy(update={"content": self.tower.config})
        self.config = config
        self._of_step: Tensor | None = None
        self._placing = False

    @abstractmethod
    def states(self, vectors: Tensor) -> Tensor:
        """(b, L, D) states of histories, given the vectors (b, L, D) of their items, oldest first; padding after."""

    @abstractmethod
    def end_states(self, vectors: Tensor, ends: Tensor) -> Tensor:
        """(b, D): those states alone that stand at `ends`, (b,) int64, for much less than all of them cost."""

    @property
    @abstractmethod
    def last_bias(self) -> Tensor:
        """(D,): what is added to each state at its end."""

    def batches(
        self,
        train: Interactions,
        supervision: Supervision,
        batch_size: int,
        disliked: Interactions | None = None,
        known: NDArray[np.bool_] | None = None,
    ) -> Batches:
        """Windows of histories."""
        half_life = supervision.recency_half_life
        return SequenceBatches(train, self.history_length, batch_size, half_life, disliked)

    def encode(self, batch: Batch) -> Tensor:
        """(P, D)."""
        assert batch.histories is not None  # SequenceBatches always gives them
        if self._trains_tower:
            assert self.tower is not None
            # The same for histories and scores, whatever is dropped; but new items are placed among states as they are.
            self._of_step = self.tower(as_new=AS_NEW) if self._placing else self.tower()
        return self.states(self.embed(self.tensor(batch.histories))).flatten(0, 1)[self.tensor(batch.places)]

    @property
    def _trains_tower(self) -> bool:
        if self.tower is None or not self.tower.can_be_run:
            return False
        return self.training or (self._placing and self.tower.training)

    @property
    def places_new_items(self) -> bool:
        """Whether it has yet to learn, once it is trained, where an item belongs of which only content is known."""
        return isinstance(self.tower, Placement) and self.tower.can_be_run

    @contextmanager
    def placing(self, modules: nn.Module) -> Iterator[None]:
        """Training `modules`, this model among them, teaches nothing but where items belong by their content.

        They begin where a ridge regression puts them. All else is as it is, and histories are read without dropout. In
        each step four items of five are known by their content, the rest as they are: were all known by content, what
        it adds to every item alike would be anyone's guess, and new items couldn't be compared with the others.
        """
        assert isinstance(self.tower, Placement)  # who asks has seen that it places new items
        self.tower.begin_()
        learned = {weight: weight.requires_grad for weight in modules.parameters()}
        modules.requires_grad_(False)
        self.tower.content_requires_grad_()
        self._placing = True
        try:
            yield
            self.tower.fold_()
        finally:
            self._placing = False
            for weight, before in learned.items():
                weight.requires_grad_(before)

    @property
    def trained_items(self) -> NDArray[np.bool_] | None:
        """(N,) bool: the items that true labels can speak of, where the others are known by their content."""
        return None if self.tower is None else self.tower.trained

    def train(self, mode: bool = True) -> SequenceModel:
        """Switch between training and serving, for which the items' vectors are made once.

        While new items are placed only the tower is ever in training.
        """
        super().train(mode and not self._placing)
        if self._placing and self.tower is not None:
            self.tower.train(mode)
        self._of_step = None
        if not mode and self.tower is not None and self.tower.can_be_run:
            with torch.no_grad():
                self.items.copy_(self.tower())
        return self

    def move_origin_(self, state: Tensor) -> None:
        """Make this state (D,) the origin, which is what an empty history has, in place.

        It is taken from all other states, and its scores are added to the items' biases, so that other answers stay.
        Raises ModelError where items have no biases.
        """
        if self.item_bias() is None:
            raise ModelError("without item biases a model's origin can't be moved; set item_bias to true")
        with torch.no_grad():
            self.last_bias.sub_(state)
            if self.bias is not None:
                self.bias.add_(self.items @ state)
            elif self.tower is not None:
                self.tower.add_to_biases_(state)
                self.items[:, -1] += self.items[:, :-1] @ state
                self._of_step = None

    def serving_state(self) -> dict[str, Tensor]:
        """Without the tower's own vectors of ids, which are in those of the items."""
        state = {name: value for name, value in super().serving_state().items() if name != "tower.ids"}
        if self.items.shape[1] > self.width:
            state |= {"items": self.items[:, : self.width], "bias": self.items[:, self.width]}
        return state

    def item_vectors(self) -> Tensor:
        """(N, D) float32."""
        return self._items()[:, : self.width] if self.tower is not None else self.items

    def item_bias(self) -> Tensor | None:
        """(N,) float32, or None."""
        items = self._items()
        return items[:, self.width] if items.shape[1] > self.width else self.bias

    def _items(self) -> Tensor:
        """(N, D), or (N, D + 1) with the bias in the last column."""
        if not self._trains_tower:
            return self.items
        if self._of_step is None:
            assert self.tower is not None
            self._of_step = self.tower()
        return self._of_step

    def extended(self, features: Mapping[str, NDArray[np.floating[Any]]], n_new: int) -> Self:
        """The same model with `n_new` items more, known by vectors (n, D_m) of some of its modalities; no training.

        Rows of NaN aren't known. Raises ModelError where the model knows items by their ids alone.
        """
        if self.tower is None:
            raise ModelError(
                f"this {type(self).__name__} knows items by their ids alone, so it can't take new ones; train one "
                "whose model names content"
            )
        wider = copy.copy(self)
        wider._buffers = dict(self._buffers)
        with torch.no_grad():
            wider.items = torch.cat([self.items, self.tower.encode(features, n_new)])
        wider.n_items = self.n_items + n_new
        return wider

    def embed(self, histories: Tensor) -> Tensor:
        """(b, L, D): the vectors of items (b, L) int64; of padding, -1, those of item 0, which nothing reads."""
        vectors = self.items[:, : self.width] if self._placing else self.item_vectors()
        return nn.functional.embedding(histories.clamp(min=0), vectors)

    def hidden(self, queries: Queries) -> Tensor:
        """(B, D) float32; zeros for an empty history. Queries whose histories share a start share a pass."""
        histories = queries.histories
        starts = np.maximum(histories.starts, histories.stops - self.history_length)
        hidden = torch.zeros(len(queries), self.width, device=self.items.device)
        asked = np.flatnonzero(histories.lengths > 0)
        asked = asked[np.lexsort((histories.stops[asked], starts[asked]))]
        if len(asked) == 0:
            return hidden
        last_of_start = np.append(np.diff(starts[asked]) != 0, True)
        passes = asked[last_of_start]
        read = Ragged(starts[passes], histories.stops[passes], histories.values)
        owner = np.cumsum(last_of_start) - last_of_start
        place = histories.stops[asked] - starts[asked] - 1
        per_pass = max(1, PLACES_PER_PASS // int(read.lengths.max()))
        for begin in range(0, len(passes), per_pass):
            states = self.states(self.embed(self._left_aligned(read[begin : begin + per_pass])))
            chosen = slice(*np.searchsorted(owner, [begin, begin + per_pass]))
            rows = self.tensor(owner[chosen] - begin), self.tensor(place[chosen])
            hidden[self.tensor(asked[chosen])] = states[rows]
        return hidden

    def _left_aligned(self, rows: Ragged) -> Tensor:
        padded: NDArray[np.int64] = np.full((len(rows), int(rows.lengths.max())), -1, np.int64)
        owner, positions = rows.positions()
        padded[owner, positions - rows.starts[owner]] = rows.values[positions]
        return self.tensor(padded)
