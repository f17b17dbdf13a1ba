"""What all encoders share: content in, vectors out, and a name for all that the vectors depend on."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from distilrec.data import ModalityKind
from distilrec.encoders.cache import VectorPrecision
from distilrec.errors import DataError

__all__ = ["Encoder", "EncoderConfig", "fingerprint_of", "located"]

PLACES = ("model", "path", "adapter")  # settings that name files, or something on a hub


class EncoderConfig(BaseModel):
    """Settings of an encoder; its own class adds fields and an `encoder` name. kind: of the content that it reads.

    stored: the numbers in which vectors are kept on disk; int8 takes a byte per value.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: ClassVar[ModalityKind]

    stored: VectorPrecision = "float32"


def located(config: EncoderConfig, change: Callable[[str], str]) -> EncoderConfig:
    """The settings with what names files changed; names on a hub are given to `change`, too."""
    places = {key: getattr(config, key, None) for key in PLACES}
    return config.model_copy(update={key: change(place) for key, place in places.items() if place is not None})


class Encoder(ABC):
    """Content of one kind -> vectors of one width. A model is loaded when it is first needed, not before.

    version: raised when the code changes what comes out, so that cached vectors aren't mistaken for today's.
    """

    version: ClassVar[int] = 1

    def __init__(self, config: EncoderConfig) -> None:
        self.config = config

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change when settings, code or the model's files do; without loading the model."""
        config = located(self.config, lambda place: "" if Path(place).exists() else place)  # its files count, not where
        if getattr(config, "adapter", None) is not None:
            config = config.model_copy(update={"adapter": "adapter"})
        told = f"{type(self).__name__} {self.version} {config.model_dump_json(exclude={'stored'})}"
        return fingerprint_of(told, self.files())

    @abstractmethod
    def files(self) -> Sequence[Path]:
        """The files that the vectors depend on."""

    def prepare(self, value: Any) -> Any:
        """Decode one value, as `Contents.blocks` gives it; DataError where it can't be read, such as a broken image."""
        return value

    def prepare_each(self, values: Sequence[Any]) -> tuple[dict[int, Any], dict[int, str]]:
        """By place, values as `encode` takes them, and why the others can't be read."""
        prepared, unread = {}, {}
        for place, value in enumerate(values):
            try:
                prepared[place] = self.prepare(value)
            except DataError as error:
                unread[place] = str(error)
        return prepared, unread

    @abstractmethod
    def encode(self, prepared: Sequence[Any]) -> NDArray[np.float32]:
        """(n, D) float32, all finite, for n >= 1 prepared values; each row is the same whatever stands beside it."""


def fingerprint_of(told: str, files: Sequence[Path]) -> str:
    """16 hex digits of a text and of the content of files."""
    digest = hashlib.sha256(told.encode())
    for path in sorted(files):
        with path.open("rb") as file:
            digest.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}".encode())
    return digest.hexdigest()[:16]
