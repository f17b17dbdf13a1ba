"""Texts as vectors by a causal language model, such as Llama, Qwen or SmolLM."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from distilrec.data import ModalityKind
from distilrec.encoders.base import Encoder, EncoderConfig
from distilrec.encoders.places import find_model
from distilrec.encoders.pretrained import finished, require_package
from distilrec.errors import ModelError

if TYPE_CHECKING:
    from distilrec.encoders.transformer import Forward, Pooled

__all__ = ["LanguageModelConfig", "LanguageModelEncoder"]

TEXT = "{text}"


class LanguageModelConfig(EncoderConfig):
    """A causal language model of transformers.

    model: its folder, as `find_model` takes it. gguf_file: a file there, of weights and tokenizer in GGUF's form; it
    is read as float32. pooling: the last token, which has read all others, or the mean of all.
    template: what the model reads, with the text at `{text}`, such as `A film: {text} In one word:`.
    max_length: tokens of template and text; of a longer text the end is left out. batch_size: texts at once; there are
    fewer where they are long. normalise: vectors to length 1. adapter: a folder that `fine_tune` wrote.
    """

    kind: ClassVar[ModalityKind] = "text"
    encoder: Literal["language_model"] = "language_model"
    model: str
    gguf_file: str | None = None
    pooling: Literal["last", "mean"] = "last"
    template: str = TEXT
    max_length: int = Field(default=256, ge=8)
    batch_size: int = Field(default=8, ge=1)
    normalise: bool = True
    adapter: str | None = None

    @field_validator("template")
    @classmethod
    def _holds_text(cls, template: str) -> str:
        if TEXT not in template:
            raise ValueError(f"the template {template!r} has no place for the text; write {TEXT} where it belongs")
        return template


class LanguageModelEncoder(Encoder):
    """A text's vector: the hidden states of a language model's last layer, at the last token or over all of them."""

    config: LanguageModelConfig

    def files(self) -> Sequence[Path]:
        """Settings, tokenizer and weights of the model, or the GGUF file that holds them, and its adapter."""
        from distilrec.encoders.transformer import adapter_files, text_model_files

        gguf = self.config.gguf_file
        own = text_model_files(self._folder) if gguf is None else [self._folder / gguf]
        return [*own, *adapter_files(self.config.adapter)]

    def encode(self, prepared: Sequence[str]) -> NDArray[np.float32]:
        """(n, D) float32. Raises ModelError where the model can't be used."""
        from distilrec.encoders.transformer import run

        rows = self.tokens(prepared, self.config.max_length)
        vectors = run(rows, self._forward, self.fill, self.config.batch_size)
        return finished(vectors, self.config.normalise, self.config.model)

    def tokens(self, texts: Sequence[str], most: int) -> list[list[int]]:
        """The ids of each text in the template, at most `most` and max_length: of a longer text the end is left out."""
        most = min(most, self.config.max_length)
        wrapped = [self.config.template.replace(TEXT, text) for text in texts]
        found: list[list[int]] = self._tokenizer(wrapped, verbose=False)["input_ids"]
        for place, row in enumerate(found):
            if len(row) > most:
                found[place] = self._shortened(texts[place], len(row) - most, most)
        return [row or [self.fill] for row in found]

    def module(self) -> Pooled:
        """The model and its pooling, loaded anew.

        Raises MissingExtraError where a GGUF file can't be read, ModelError where the model reads less than max_length.
        """
        from distilrec.encoders.transformer import Pooled, load_model

        self._check_gguf()
        model = load_model(self._folder, self.config.adapter, self.config.gguf_file)
        positions = getattr(model.config, "max_position_embeddings", self.config.max_length)
        if self.config.max_length > positions:
            raise ModelError(
                f"{self.config.model} reads at most {positions} tokens, and max_length is {self.config.max_length}; "
                "lower it"
            )
        return Pooled(model, self.config.pooling).eval()

    @property
    def fill(self) -> int:
        """The id of padding."""
        return int(self._tokenizer.pad_token_id or self._tokenizer.eos_token_id or 0)

    def _shortened(self, text: str, surplus: int, most: int) -> list[int]:
        """Cut by whole tokens of the text; in the template they may become one or two more, at its end."""
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        ends = [end for _, end in encoded["offset_mapping"]]
        kept = text[: ends[len(ends) - surplus - 1]] if len(ends) > surplus else ""
        ids: list[int] = self._tokenizer(self.config.template.replace(TEXT, kept))["input_ids"]
        return ids[:most]

    @cached_property
    def _folder(self) -> Path:
        return find_model(self.config.model)

    @cached_property
    def _tokenizer(self) -> Any:
        from distilrec.encoders.transformer import load_tokenizer

        self._check_gguf()
        return load_tokenizer(self._folder, self.config.gguf_file)

    @cached_property
    def _forward(self) -> Forward:
        from distilrec.encoders.transformer import forward_in_torch

        return forward_in_torch(self.module())

    def _check_gguf(self) -> None:
        if self.config.gguf_file is not None:
            require_package("gguf", f"reading {self.config.gguf_file}", "gguf")
