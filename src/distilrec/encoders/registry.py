"""Which settings make which encoder."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import Field, TypeAdapter

from distilrec.data import Contents
from distilrec.encoders.attributes import Attributes, AttributesConfig, learn_attributes
from distilrec.encoders.audio import (
    AudioConfig,
    AudioEncoder,
    AudioTransformer,
    AudioTransformerConfig,
    OnnxAudio,
    OnnxAudioConfig,
)
from distilrec.encoders.base import Encoder, EncoderConfig, located
from distilrec.encoders.image import (
    EfficientNetLite,
    EfficientNetLiteConfig,
    ImageConfig,
    ImageEncoder,
    OnnxImage,
    OnnxImageConfig,
)
from distilrec.encoders.language_model import LanguageModelConfig, LanguageModelEncoder
from distilrec.encoders.text import TextConfig, TextEncoder
from distilrec.encoders.vectors import Vectors, VectorsConfig
from distilrec.errors import ArtefactError

__all__ = [
    "ADAPTER",
    "AnyEncoderConfig",
    "build_encoder",
    "check_encoder",
    "load_encoder",
    "read_encoder",
    "save_encoder",
]

FILE, ADAPTER = "encoder.json", "adapter"

AnyEncoderConfig: TypeAlias = Annotated[
    VectorsConfig
    | AttributesConfig
    | TextConfig
    | LanguageModelConfig
    | ImageConfig
    | EfficientNetLiteConfig
    | OnnxImageConfig
    | AudioConfig
    | AudioTransformerConfig
    | OnnxAudioConfig,
    Field(discriminator="encoder"),
]

_CLASSES: dict[type[EncoderConfig], type[Any]] = {
    VectorsConfig: Vectors,
    AttributesConfig: Attributes,
    TextConfig: TextEncoder,
    LanguageModelConfig: LanguageModelEncoder,
    ImageConfig: ImageEncoder,
    EfficientNetLiteConfig: EfficientNetLite,
    OnnxImageConfig: OnnxImage,
    AudioConfig: AudioEncoder,
    AudioTransformerConfig: AudioTransformer,
    OnnxAudioConfig: OnnxAudio,
}


def build_encoder(config: EncoderConfig, contents: Contents | None = None) -> Encoder:
    """The encoder of these settings, its model not loaded yet.

    contents: what attributes are learned from, where the settings don't hold them yet.

    >>> build_encoder(VectorsConfig()).files()
    ()
    """
    if isinstance(config, AttributesConfig) and contents is not None:
        config = learn_attributes(config, contents)
    encoder: Encoder = _CLASSES[type(config)](config)
    return encoder


def save_encoder(encoder: Encoder, folder: Path) -> None:
    """Write the settings of an encoder, what it learned included, so that new items can be encoded alike.

    An adapter goes along; the model itself is named, not copied.
    """
    here = located(encoder.config, lambda place: str(Path(place).resolve()) if Path(place).exists() else place)
    config = here.model_dump(mode="json")
    if config.get("adapter") is not None:
        source, config["adapter"] = Path(config["adapter"]), ADAPTER
        if source.resolve() != (folder / ADAPTER).resolve():
            shutil.copytree(source, folder / ADAPTER, dirs_exist_ok=True)
    content = {"fingerprint": encoder.fingerprint, "config": config}
    partial = folder / f"{FILE}.partial"
    partial.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    os.replace(partial, folder / FILE)


def load_encoder(folder: Path) -> Encoder:
    """Read what `save_encoder` wrote.

    Raises ArtefactError where it is damaged, and where the encoder isn't the one that it was: its model has changed.
    """
    encoder, fingerprint = read_encoder(folder)
    check_encoder(encoder, fingerprint)
    return encoder


def read_encoder(folder: Path) -> tuple[Encoder, str]:
    """The encoder and its fingerprint, without a look at its model, which needn't be there before it is used.

    Raises ArtefactError where they can't be read.
    """
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        if content["config"].get("adapter") == ADAPTER:
            content["config"]["adapter"] = str(folder / ADAPTER)
        config: EncoderConfig = TypeAdapter(AnyEncoderConfig).validate_python(content["config"])
        fingerprint = str(content["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtefactError(f"The encoder in {folder} can't be read: {error}; encode its content again") from error
    return build_encoder(config), fingerprint


def check_encoder(encoder: Encoder, fingerprint: str) -> None:
    """Raise ArtefactError where it isn't the one with this fingerprint."""
    if encoder.fingerprint != fingerprint:
        raise ArtefactError(
            f"The {type(encoder).__name__} isn't the one that it was (now {encoder.fingerprint}, then {fingerprint}): "
            "its model or DistilRec changed, so new vectors wouldn't fit the old ones; encode and train again"
        )
