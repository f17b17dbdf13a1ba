"""Item vectors from what is known of the items: their content, their ids, or both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn

from distilrec.data import Features
from distilrec.errors import ModelError
from distilrec.models.base import ModelConfig

__all__ = ["Catalogue", "ContentConfig", "ContentMaps", "ItemTower", "Part", "PrincipalComponents"]

ROWS = 4096  # items read at once
SAME = 1e-10  # of their squared mean's length: a variance of vectors that are the same
COMPONENTS = 32
IDS = "ids"


class ContentConfig(ModelConfig):
    """How a model knows its items.

    modalities: names of the recipe's content. ids: whether each item seen in training has a vector of its own besides;
    without, a model says the same of two items with the same content. new_only: whether content is for items without a
    vector of their own alone, so that the others are known as well as by a model without content; it is learned once
    the rest is. components: principal components that are kept of each modality; default: 32, since with many some
    thousand items are soon learned by heart, and new ones not understood; all of them with new_only, which begins at a
    ridge regression. hidden: width of a layer between these and the item's vector; 0:
    none. dropout: of the components. modality_dropout: share of items, in each training step, that a modality is
    withheld of, ids too, so that any subset serves. widths: of the modalities' vectors; known once the model is made.
    """

    modalities: tuple[str, ...] = ()
    ids: bool = True
    new_only: bool = False
    components: int | None = Field(default=None, ge=1)
    hidden: int = Field(default=0, ge=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    modality_dropout: float = Field(default=0.2, ge=0, lt=1)
    widths: dict[str, int] | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if IDS in self.modalities:
            raise ValueError(f"{IDS!r} is no modality; say ids: true")
        twice = next((name for name in self.modalities if self.modalities.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"content names {twice!r} twice")
        if not self.modalities:
            raise ValueError("content names no modality; leave it out for a model that knows items by their ids alone")
        if self.new_only and not self.ids:
            raise ValueError("new_only: without ids no item has a vector of its own; set ids to true")
        if self.new_only and self.hidden:
            raise ValueError("new_only: new items are placed by linear maps; leave hidden out")
        return self

    @property
    def sources(self) -> tuple[str, ...]:
        """The M modalities, and `ids` where items have them, in the order of the gates."""
        return (*self.modalities, *([IDS] if self.ids else []))

    def kept(self, wide: int) -> int:
        """K: how many components are kept of a modality whose vectors have `wide` numbers."""
        return min(wide, self.components or (wide if self.new_only else COMPONENTS))


@dataclass(frozen=True, eq=False)
class Catalogue:
    """What there is to know items by. features: by modality. trained: (N,) bool, those seen in training."""

    features: Mapping[str, Features]
    trained: NDArray[np.bool_]


class ContentMaps(nn.Module, ABC):
    """What gives items vectors by their content: a map of each modality, and how what they give is mixed.

    parts: by modality, from its principal components (n, K) to (n, D). ids: (N, D), the items' own vectors, where they
    have some; a model that is read from disk has these in the vectors that it keeps.
    """

    def __init__(
        self, config: ContentConfig, n_items: int, width: int, std: float, catalogue: Catalogue | None
    ) -> None:
        super().__init__()
        if catalogue is not None:
            config = config.model_copy(update={"widths": _widths(config.modalities, catalogue)})
        if config.widths is None:
            raise ModelError("A model that knows items by their content needs that content to be made; none was given")
        self.config, self.width = config, width
        self.parts = nn.ModuleDict()
        for name in config.modalities:
            self.parts[name] = Part(config.widths[name], config.kept(config.widths[name]), width, config, std)
        own = config.ids and catalogue is not None
        self.ids = nn.Parameter(torch.randn(n_items, width) * std) if own else None
        self._inputs: list[Tensor] = []
        self._known = torch.empty(0)
        self.trained: NDArray[np.bool_] | None = None
        if catalogue is not None:
            self._read(catalogue)

    @property
    def can_be_run(self) -> bool:
        """Whether the content is there; a model that was read from disk has its vectors instead."""
        return bool(self._inputs)

    @abstractmethod
    def forward(self, withheld: Collection[str] = ()) -> Tensor:
        """(N, D): the vectors of all items; in training with dropout. withheld: sources that aren't known."""

    def add_to_biases_(self, state: Tensor) -> None:
        """Add state . v to the bias b behind each item's vector v, of new items too, in place; v stays as it is.

        v and b are sums of what each source's linear map gives, so this is done in those maps.
        """
        with torch.no_grad():
            for part in self.each_part():
                part.last.weight[-1] += state @ part.last.weight[:-1]
                part.last.bias[-1] += state @ part.last.bias[:-1]
            if self.ids is not None:
                self.ids[:, -1] += self.ids[:, :-1] @ state

    @abstractmethod
    def add_to_new_(self, shift: Tensor) -> None:
        """Add (D,) to the vectors, with their biases, of items that come later, in place."""

    def encode(self, features: Mapping[str, NDArray[np.floating]], n_items: int) -> Tensor:
        """(n, D): vectors of new items, from vectors (n, D_m) of some of the modalities; NaN rows aren't known.

        Raises ModelError on a modality that isn't read, and on vectors of another shape.
        """
        for name, given in features.items():
            expected = (n_items, (self.config.widths or {}).get(name))
            if np.shape(given) != expected:
                raise ModelError(
                    f"new items: expected vectors of {', '.join(self.parts)}, {name!r} with shape {expected}, given "
                    f"{np.shape(given)}; give what the encoder of that modality makes"
                )
        read, known = [], []
        for name, width in (self.config.widths or {}).items():
            vectors = torch.from_numpy(np.asarray(features.get(name, np.full((n_items, width), np.nan)), np.float32))
            read.append(vectors.nan_to_num(0.0))
            known.append(vectors.isfinite().all(1))
        return self.placed(read, torch.stack(known, dim=1))

    def placed(self, features: Sequence[Tensor], known: Tensor) -> Tensor:
        """(n, D): vectors of new items, from those (n, D_m) of each modality and which are known, (n, M) bool."""
        parts = zip(self.each_part(), features, strict=True)
        return self._mixed([part(part.components(vectors)) for part, vectors in parts], known)

    def each_part(self) -> list[Part]:
        """The modalities' maps."""
        return [part for part in self.parts.values() if isinstance(part, Part)]

    @abstractmethod
    def _mixed(self, sources: Sequence[Tensor], known: Tensor) -> Tensor:
        """(n, D) from what the maps give, (n, D) of each modality, and which are known, (n, M) bool."""

    def _mapped(self) -> list[Tensor]:
        return [part(x) for part, x in zip(self.each_part(), self._inputs, strict=True)]

    def _known_but(self, withheld: Collection[str]) -> Tensor:
        """(N, M) bool: which modalities are known of each item."""
        return self._known & torch.tensor([name not in withheld for name in self.config.modalities])

    def _read(self, catalogue: Catalogue) -> None:
        known = []
        for name, part in zip(self.parts, self.each_part(), strict=True):
            features = catalogue.features[name]
            part.components.fit(features, features.known & catalogue.trained)
            blocks = range(0, len(features), ROWS)
            rows = [torch.from_numpy(features.vectors[n : n + ROWS].astype(np.float32)) for n in blocks]
            self._inputs.append(torch.cat([part.components(block) for block in rows]))
            known.append(torch.from_numpy(np.array(features.known)))
        self._known = torch.stack(known, dim=1)
        self.trained = catalogue.trained


class ItemTower(ContentMaps):
    """v_i = sum_m g_im h_im over what is known of item i, with g_i = softmax of a learned gate per modality.

    h_im is a linear map, or a perceptron, of the modality's principal components. They share one scale: were each of
    unit variance, the small ones, mostly noise, would let the map learn items by heart. For ids it is the item's own
    vector, known of items that training has seen. Gates: a linear map of h_im and a bias. An item of which nothing is
    known has a vector of zeros. Our own design; whole inputs are dropped as by Volkovs, Yu and Poutanen, DropoutNet,
    NIPS 2017.
    """

    def __init__(
        self, config: ContentConfig, n_items: int, width: int, std: float, catalogue: Catalogue | None
    ) -> None:
        super().__init__(config, n_items, width, std, catalogue)
        self.gate = nn.Parameter(torch.zeros(len(config.sources), width + 1))

    def forward(self, withheld: Collection[str] = ()) -> Tensor:
        """(N, D): the vectors of all items; in training with modality dropout. withheld: sources that aren't known."""
        sources, known = self._all(withheld)
        if self.training and self.config.modality_dropout and sources.shape[1] > 1:
            kept = known & (torch.rand(known.shape) >= self.config.modality_dropout)
            known = torch.where(kept.any(1, keepdim=True), kept, known)
        return self._gated(sources, known)

    def add_to_biases_(self, state: Tensor) -> None:
        """As ContentMaps'; it is undone in the gates, which read vectors and biases."""
        super().add_to_biases_(state)
        with torch.no_grad():
            self.gate[:, :-2] -= self.gate[:, -2:-1] * state

    def add_to_new_(self, shift: Tensor) -> None:
        """As ContentMaps', in the maps, whose weights sum to one; it is undone in the gates, which read what they give.

        Vectors of items that training has seen are made anew only where the tower is run.
        """
        with torch.no_grad():
            for place, part in enumerate(self.each_part()):
                part.last.bias.add_(shift)
                self.gate[place, -1] -= self.gate[place, :-1] @ shift

    def gates(self) -> Tensor:
        """(N, M): the weight of each modality, then of ids, in each item's vector."""
        with torch.no_grad():
            return self._weights(*self._all())

    def _all(self, withheld: Collection[str] = ()) -> tuple[Tensor, Tensor]:
        """(N, M, D) and (N, M) bool: what the sources give, and which are known, of all items; ids are the last."""
        sources, known = self._mapped(), self._known_but(withheld)
        if self.ids is not None:
            sources.append(self.ids)
            with_ids = torch.from_numpy(self.trained) & (IDS not in withheld)
            known = torch.cat([known, with_ids.unsqueeze(1)], dim=1)
        return torch.stack(sources, dim=1), known

    def _mixed(self, sources: Sequence[Tensor], known: Tensor) -> Tensor:
        if self.config.ids:  # which new items have none of
            sources = [*sources, torch.zeros_like(sources[0])]
            known = torch.cat([known, torch.zeros_like(known[:, :1])], dim=1)
        return self._gated(torch.stack(list(sources), dim=1), known)

    def _gated(self, sources: Tensor, known: Tensor) -> Tensor:
        """sources: (n, M, D). known: (n, M) bool."""
        mixed: Tensor = (self._weights(sources, known).unsqueeze(2) * sources).sum(1)
        return mixed

    def _weights(self, sources: Tensor, known: Tensor) -> Tensor:
        logits = (sources * self.gate[:, :-1]).sum(2) + self.gate[:, -1]
        weights = logits.masked_fill(~known, -torch.inf).softmax(1)
        return weights.nan_to_num(0.0)  # where nothing is known


class PrincipalComponents(nn.Module):
    """(n, D) -> (n, K): the principal components of some vectors, the first of unit variance among them.

    basis: (D, K); None leaves vectors as they are, but for their mean.
    """

    def __init__(self, width: int, kept: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("basis", torch.zeros(width, kept))
        self.mean: Tensor
        self.basis: Tensor | None

    def forward(self, vectors: Tensor) -> Tensor:
        """(n, K)."""
        about = vectors - self.mean
        return about if self.basis is None else about @ self.basis

    def fit(self, features: Features, chosen: NDArray[np.bool_]) -> None:
        """Principal components of the chosen items' vectors, from their mean and covariance, block by block."""
        assert self.basis is not None  # it isn't taken away before
        places = np.flatnonzero(chosen)
        if len(places) < 2:
            raise ModelError(
                f"{len(places)} of the items seen in training have this content; a model can't learn from it: leave "
                "the modality out"
            )
        total, squares = np.zeros(features.width), np.zeros((features.width, features.width))
        for begin in range(0, len(places), ROWS):
            rows = features.vectors[places[begin : begin + ROWS]].astype(np.float64)
            total += rows.sum(0)
            squares += rows.T @ rows
        mean = total / len(places)
        values, directions = np.linalg.eigh(squares / len(places) - np.outer(mean, mean))
        kept = self.basis.shape[1]
        values, directions = values[::-1][:kept], directions[:, ::-1][:, :kept]
        if values[0] <= SAME * (mean @ mean):  # they differ by rounding alone, which would be made large
            directions = np.zeros_like(directions)
        # The sign of an eigenvector is anyone's choice; its largest value is made positive.
        directions = directions * np.sign(directions[np.abs(directions).argmax(0), np.arange(kept)])
        self.mean.copy_(torch.from_numpy(mean))
        self.basis.copy_(torch.from_numpy(directions / max(values[0], 1e-30) ** 0.5))


class Part(nn.Module):
    """One modality: (n, K) principal components -> (n, D)."""

    def __init__(self, wide: int, kept: int, width: int, config: ContentConfig, std: float) -> None:
        super().__init__()
        self.components = PrincipalComponents(wide, kept)
        inner = config.hidden or kept
        layers: list[nn.Module] = [nn.Linear(kept, inner), nn.GELU()] if config.hidden else []
        last = nn.Linear(inner, width)
        nn.init.normal_(last.weight, std=std / inner**0.5)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(nn.Dropout(config.dropout), *layers, last)

    @property
    def last(self) -> nn.Linear:
        """The map to the item's vector, and its bias behind."""
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        return last

    def forward(self, components: Tensor) -> Tensor:
        """(n, D)."""
        mapped: Tensor = self.layers(components)
        return mapped


def _widths(modalities: Sequence[str], catalogue: Catalogue) -> dict[str, int]:
    missing = [name for name in modalities if name not in catalogue.features]
    if missing:
        raise ModelError(
            f"the model reads {missing[0]!r}, and the content has {', '.join(catalogue.features) or 'nothing'}; "
            "name it under data.items.content"
        )
    return {name: catalogue.features[name].width for name in modalities}
