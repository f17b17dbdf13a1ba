"""Which settings make which model."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import torch
from pydantic import Field

from distilrec.models.base import Model, ModelConfig, VectorConfig
from distilrec.models.content_knn import ContentKNN, ContentKNNConfig
from distilrec.models.ease import EASE, EASEConfig
from distilrec.models.history_encoder import HistoryEncoder, HistoryEncoderConfig
from distilrec.models.ials import IALS, IALSConfig
from distilrec.models.item_knn import ItemKNN, ItemKNNConfig
from distilrec.models.lightgcn import LightGCN, LightGCNConfig
from distilrec.models.matrix_factorization import MatrixFactorization, MatrixFactorizationConfig
from distilrec.models.popularity import Popularity, PopularityConfig
from distilrec.models.random import Random, RandomConfig
from distilrec.models.sasrec import SASRec, SASRecConfig
from distilrec.models.tower import Catalogue
from distilrec.rng import child_seed

__all__ = ["AnyModelConfig", "build", "has_vectors", "modalities", "reads_content", "reads_histories"]

AnyModelConfig: TypeAlias = Annotated[
    PopularityConfig
    | RandomConfig
    | ContentKNNConfig
    | ItemKNNConfig
    | EASEConfig
    | IALSConfig
    | MatrixFactorizationConfig
    | LightGCNConfig
    | SASRecConfig
    | HistoryEncoderConfig,
    Field(discriminator="model"),
]

_CLASSES: dict[type[ModelConfig], type[Any]] = {
    PopularityConfig: Popularity,
    RandomConfig: Random,
    ContentKNNConfig: ContentKNN,
    ItemKNNConfig: ItemKNN,
    EASEConfig: EASE,
    IALSConfig: IALS,
    MatrixFactorizationConfig: MatrixFactorization,
    LightGCNConfig: LightGCN,
    SASRecConfig: SASRec,
    HistoryEncoderConfig: HistoryEncoder,
}


def build(config: ModelConfig, n_users: int, n_items: int, *, seed: int, catalogue: Catalogue | None = None) -> Model:
    """Make an untrained model, its first weights drawn from `seed`.

    catalogue: what items can be known by, for models that read it.

    >>> model = build(MatrixFactorizationConfig(embedding_size=4), n_users=2, n_items=3, seed=0)
    >>> sum(p.numel() for p in model.parameters())
    23
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(child_seed(seed, "weights"))
        content = {"catalogue": catalogue} if reads_content(config) else {}
        model: Model = _CLASSES[type(config)](config, n_users, n_items, **content)
    return model


def reads_content(config: ModelConfig) -> bool:
    """Whether the model of these settings knows its items by their content.

    >>> reads_content(SASRecConfig(content={"modalities": ["text"]})), reads_content(SASRecConfig())
    (True, False)
    """
    return len(modalities(config)) > 0


def modalities(config: ModelConfig) -> tuple[str, ...]:
    """The names of the content that the model of these settings reads.

    >>> modalities(SASRecConfig(content={"modalities": ["text"]})), modalities(SASRecConfig())
    (('text',), ())
    """
    if isinstance(config, ContentKNNConfig):
        return tuple(config.weights)
    content = getattr(config, "content", None)
    return () if content is None else tuple(content.modalities)


def has_vectors(config: ModelConfig) -> bool:
    """Whether the model of these settings has a vector for each query and item, whose product is the score.

    >>> has_vectors(IALSConfig()), has_vectors(EASEConfig())
    (True, False)
    """
    return isinstance(config, VectorConfig | IALSConfig)


def reads_histories(config: ModelConfig) -> bool:
    """Whether the model of these settings answers from histories, new clicks included, or looks its users up.

    >>> reads_histories(SASRecConfig()), reads_histories(MatrixFactorizationConfig())
    (True, False)
    """
    reads: bool = _CLASSES[type(config)].reads_histories
    return reads
