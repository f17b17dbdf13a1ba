"""Categories and numbers of items as vectors."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from distilrec.data import Contents, ModalityKind
from distilrec.encoders.base import Encoder, EncoderConfig

__all__ = ["Attributes", "AttributesConfig", "learn_attributes"]

Value: TypeAlias = str | int | float | bool | Sequence[Any] | None


class AttributesConfig(EncoderConfig):
    """Categories as zeros and ones, numbers in standard deviations from their mean. `A|B` is a list of two categories.

    categories: the most frequent ones of each column that are kept; the others share a place. learned: what each column
    was found to hold, its categories, or mean and standard deviation of its numbers; None until it is learned.
    """

    kind: ClassVar[ModalityKind] = "attributes"
    encoder: Literal["attributes"] = "attributes"
    categories: int = Field(default=256, ge=1)
    learned: dict[str, tuple[str, ...] | tuple[float, float]] | None = None


class Attributes(Encoder):
    """For each column its categories and one place for all others, or its number and whether it is known.

    >>> config = AttributesConfig(learned={"genre": ("Drama", "War"), "year": (1990.0, 10.0)})
    >>> Attributes(config).encode([{"genre": ["War", "Musical"], "year": 2000}, {"genre": None, "year": None}])
    array([[0., 1., 1., 1., 1.],
           [0., 0., 0., 0., 0.]], dtype=float32)
    """

    version: ClassVar[int] = 2
    config: AttributesConfig

    def files(self) -> Sequence[Path]:
        """None."""
        return ()

    def encode(self, prepared: Sequence[Any]) -> NDArray[np.float32]:
        """(n, D) float32."""
        return np.stack([self._encoded(row) for row in prepared])

    def _encoded(self, row: Mapping[str, Value]) -> NDArray[np.float32]:
        assert self.config.learned is not None  # learn_attributes comes first
        parts = []
        for name, found in self.config.learned.items():
            value = row.get(name)
            if isinstance(found[0], str):
                parts.append(_marks([str(each) for each in found], value))
            else:
                mean, deviation = found
                number = _number(value)
                told = [0.0, 0.0] if number is None else [(number - float(mean)) / float(deviation), 1.0]
                parts.append(np.array(told, np.float32))
        return np.concatenate(parts)


def learn_attributes(config: AttributesConfig, contents: Contents) -> AttributesConfig:
    """The settings with what each column was found to hold; as they are where that is known already.

    A column is one of numbers where all its values are; what is empty everywhere is left out.
    """
    if config.learned is not None:
        return config
    counts: dict[str, Counter[str]] = {name: Counter() for name in contents.modality.columns}
    sums = {name: np.zeros(3) for name in contents.modality.columns}  # how many, their sum, and that of their squares
    numeric = dict.fromkeys(contents.modality.columns, True)
    for _, rows in contents.blocks():
        for row in rows:
            for name, value in row.items():
                if value is None:
                    continue
                if isinstance(value, bool | str) or not isinstance(value, int | float | Decimal):
                    numeric[name] = False
                elif (number := _number(value)) is not None:
                    sums[name] += (1.0, number, number * number)
                counts[name].update(_categories(value))
    learned: dict[str, tuple[str, ...] | tuple[float, float]] = {}
    for name, found in counts.items():
        if numeric[name] and sums[name][0]:
            n, total, squares = sums[name]
            learned[name] = float(total / n), float(max(squares / n - (total / n) ** 2, 0.0) ** 0.5) or 1.0
        elif found:
            kept = sorted(found, key=lambda category: (-found[category], category))[: config.categories]
            learned[name] = tuple(kept)
    return config.model_copy(update={"learned": learned})


def _number(value: Any) -> float | None:
    """Of numbers, and of texts that are one, as new items may have it; None where it is no finite one."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _categories(value: Value) -> Iterable[str]:
    if isinstance(value, str) and "|" in value:
        value = value.split("|")
    if isinstance(value, list | tuple):
        return {str(each) for each in value if each not in (None, "")}
    return () if value in (None, "") else (str(value),)


def _marks(categories: Sequence[str], value: Value) -> NDArray[np.float32]:
    place = {category: n for n, category in enumerate(categories)}
    marks = np.zeros(len(categories) + 1, np.float32)
    for each in _categories(value):
        marks[place.get(each, len(categories))] = 1.0
    return marks
