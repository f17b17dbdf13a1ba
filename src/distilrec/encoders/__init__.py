"""Encoders: text, images, sound, vectors and attributes of items to vectors, cached on disk."""

from distilrec.encoders.attributes import Attributes, AttributesConfig
from distilrec.encoders.base import Encoder, EncoderConfig, located
from distilrec.encoders.cache import VectorCache, VectorPrecision
from distilrec.encoders.catalogue import Encoding, cache_home, encode_contents
from distilrec.encoders.language_model import LanguageModelConfig
from distilrec.encoders.registry import (
    ADAPTER,
    AnyEncoderConfig,
    build_encoder,
    check_encoder,
    load_encoder,
    read_encoder,
    save_encoder,
)
from distilrec.encoders.text import TextConfig, TextEncoder
from distilrec.encoders.vectors import Vectors, VectorsConfig

__all__ = [
    "ADAPTER",
    "AnyEncoderConfig",
    "Attributes",
    "AttributesConfig",
    "Encoder",
    "EncoderConfig",
    "Encoding",
    "LanguageModelConfig",
    "TextConfig",
    "TextEncoder",
    "VectorCache",
    "VectorPrecision",
    "Vectors",
    "VectorsConfig",
    "build_encoder",
    "cache_home",
    "check_encoder",
    "encode_contents",
    "load_encoder",
    "located",
    "read_encoder",
    "save_encoder",
]
