"""Vectors that were computed elsewhere, taken as they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from distilrec.data import ModalityKind
from distilrec.encoders.base import Encoder, EncoderConfig
from distilrec.errors import DataError

__all__ = ["Vectors", "VectorsConfig"]


class VectorsConfig(EncoderConfig):
    """Vectors as the items file holds them."""

    kind: ClassVar[ModalityKind] = "vectors"
    encoder: Literal["vectors"] = "vectors"


class Vectors(Encoder):
    """Hands the vectors on.

    >>> Vectors(VectorsConfig()).encode([np.array([1.0, 2.0], np.float32)])
    array([[1., 2.]], dtype=float32)
    """

    def files(self) -> Sequence[Path]:
        """None."""
        return ()

    def prepare(self, value: Any) -> Any:
        """Raises DataError on a value that isn't finite."""
        if not np.isfinite(value).all():
            raise DataError("the vector holds NaN or infinity")
        return value

    def encode(self, prepared: Sequence[Any]) -> NDArray[np.float32]:
        """(n, D) float32."""
        return np.stack(prepared).astype(np.float32)
