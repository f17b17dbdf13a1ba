"""Models: each a teacher or a student by its settings."""

from __future__ import annotations

from distilrec.models.base import ClosedForm, DotProductModel, Model, ModelConfig, Supervision, VectorConfig
from distilrec.models.cold_start import fit_room_, place_by_ridge_
from distilrec.models.content_knn import ContentKNN, ContentKNNConfig
from distilrec.models.domain_view import DomainView, known_elsewhere
from distilrec.models.ease import EASE, EASEConfig
from distilrec.models.ensemble import USER_EDGES, Ensemble, step_names
from distilrec.models.fitting import fit, softmax_terms, supervised_loss, validator
from distilrec.models.growth import Known, Outgrown, warm_start_
from distilrec.models.history_encoder import HistoryEncoder, HistoryEncoderConfig
from distilrec.models.hybrid import Hybrid
from distilrec.models.ials import IALS, IALSConfig
from distilrec.models.item_knn import ItemKNN, ItemKNNConfig
from distilrec.models.lightgcn import LightGCN, LightGCNConfig
from distilrec.models.matrix_factorization import MatrixFactorization, MatrixFactorizationConfig
from distilrec.models.pairs import look_up, pair_scores
from distilrec.models.popularity import Popularity, PopularityConfig
from distilrec.models.random import Random, RandomConfig
from distilrec.models.registry import AnyModelConfig, build, has_vectors, modalities, reads_content, reads_histories
from distilrec.models.sasrec import SASRec, SASRecConfig
from distilrec.models.sequence import SequenceConfig, SequenceModel
from distilrec.models.start import fit_start_
from distilrec.models.storage import Precision, load_model, quantize_, save_model
from distilrec.models.tower import Catalogue, ContentConfig, ContentMaps, ItemTower
from distilrec.models.truncation import factorise, truncate_

__all__ = [
    "EASE",
    "IALS",
    "USER_EDGES",
    "AnyModelConfig",
    "Catalogue",
    "ClosedForm",
    "ContentConfig",
    "ContentKNN",
    "ContentKNNConfig",
    "ContentMaps",
    "DomainView",
    "DotProductModel",
    "EASEConfig",
    "Ensemble",
    "HistoryEncoder",
    "HistoryEncoderConfig",
    "Hybrid",
    "IALSConfig",
    "ItemKNN",
    "ItemKNNConfig",
    "ItemTower",
    "Known",
    "LightGCN",
    "LightGCNConfig",
    "MatrixFactorization",
    "MatrixFactorizationConfig",
    "Model",
    "ModelConfig",
    "Outgrown",
    "Popularity",
    "PopularityConfig",
    "Precision",
    "Random",
    "RandomConfig",
    "SASRec",
    "SASRecConfig",
    "SequenceConfig",
    "SequenceModel",
    "Supervision",
    "VectorConfig",
    "build",
    "factorise",
    "fit",
    "fit_room_",
    "fit_start_",
    "has_vectors",
    "known_elsewhere",
    "load_model",
    "look_up",
    "modalities",
    "pair_scores",
    "place_by_ridge_",
    "quantize_",
    "reads_content",
    "reads_histories",
    "save_model",
    "softmax_terms",
    "step_names",
    "supervised_loss",
    "truncate_",
    "validator",
    "warm_start_",
]
