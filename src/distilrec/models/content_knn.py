"""Nearest neighbours by content: what resembles a user's items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from distilrec.data import Interactions
from distilrec.errors import ModelError
from distilrec.models.base import ClosedForm, ModelConfig
from distilrec.models.ease import history_matrix
from distilrec.models.item_knn import neighbour_matrix
from distilrec.models.tower import Catalogue, PrincipalComponents
from distilrec.scoring import Queries

__all__ = ["ContentKNN", "ContentKNNConfig"]

BLOCK_VALUES = 2**23  # similarities at once: 32 MB


class ContentKNNConfig(ModelConfig):
    """Settings of content-kNN.

    weights: of each modality's cosine, by name. neighbours: kept per item, of those that training has seen.
    recency_half_life: an item of a history weighs half as much for each so many later ones; None weighs all alike.
    components: principal components that are kept of each modality; None takes vectors as they are.
    """

    model: Literal["content_knn"] = "content_knn"
    weights: dict[str, float] = Field(min_length=1)
    neighbours: int = Field(default=50, ge=1)
    recency_half_life: float | None = Field(default=None, gt=0)
    components: int | None = Field(default=None, ge=1)


class ContentKNN(ClosedForm):
    """Score = sum over the history of its items' similarity to the item, which keeps its nearest neighbours.

    The similarity is the weighted sum of the modalities' cosines; a modality that one of the two items lacks adds
    nothing. Only items that training has seen are neighbours, since only they are in histories.
    """

    def __init__(
        self, config: ContentKNNConfig, n_users: int, n_items: int, catalogue: Catalogue | None = None
    ) -> None:
        super().__init__(n_users, n_items)
        self.config, self._catalogue = config, catalogue
        kept = min(config.neighbours, n_items)
        self.register_buffer("neighbours", torch.zeros(n_items, kept, dtype=torch.int32))
        self.register_buffer("similarities", torch.zeros(n_items, kept))
        self.neighbours: Tensor
        self.similarities: Tensor

    def fit(self, train: Interactions) -> None:
        """Find each item's nearest neighbours, one block of items at a time."""
        if self._catalogue is None:
            raise ModelError("content-kNN needs the items' content; none was given")
        trained = np.flatnonzero(train.item_counts() > 0)
        vectors = torch.from_numpy(_unit_vectors(self._catalogue, self.config))
        others = vectors[trained]
        kept = min(self.neighbours.shape[1], len(trained))
        size = max(1, BLOCK_VALUES // len(trained))
        places = torch.from_numpy(trained)
        for begin in range(0, self.n_items, size):
            part = slice(begin, min(begin + size, self.n_items))
            cosine = vectors[part] @ others.T
            cosine[torch.arange(part.start, part.stop).unsqueeze(1) == places] = (
                0.0  # an item is no neighbour of its own
            )
            values, found = cosine.topk(kept)
            self.neighbours[part, :kept], self.similarities[part, :kept] = places[found].int(), values.clamp(min=0)

    def score(self, queries: Queries) -> Tensor:
        """(B, N) float32."""
        x = history_matrix(queries.histories, self.n_items, self.config.recency_half_life)
        neighbours = neighbour_matrix(self.neighbours, self.similarities)
        return torch.from_numpy((x @ neighbours.T).toarray().astype(np.float32))

    def flops(self, query: Queries) -> int:
        """2 for each neighbour that is kept of each item: its similarity, weighed and added."""
        return 2 * self.n_items * self.neighbours.shape[1]


def _unit_vectors(catalogue: Catalogue, config: ContentKNNConfig) -> NDArray[np.float32]:
    """(N, D): products of two rows are weighted sums of cosines."""
    parts = []
    for name, weight in _checked(config.weights, catalogue).items():
        features = catalogue.features[name]
        vectors = np.array(features.vectors, np.float32)
        if config.components is not None:
            part = PrincipalComponents(features.width, min(config.components, features.width))
            part.fit(features, features.known & catalogue.trained)
            vectors = part(torch.from_numpy(vectors)).numpy()
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
        parts.append(np.float32(weight**0.5) * unit * features.known[:, None])
    return np.concatenate(parts, axis=1)


def _checked(weights: Mapping[str, float], catalogue: Catalogue) -> Mapping[str, float]:
    for name, weight in weights.items():
        if name not in catalogue.features:
            raise ModelError(f"content-kNN weighs {name!r}, and the content has {', '.join(catalogue.features)}")
        if weight < 0:
            raise ModelError(f"content-kNN: the weight of {name!r} is {weight}; give one of at least 0")
    return weights
