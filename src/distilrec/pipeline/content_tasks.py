"""Stages around the content of items: its vectors, and what a student that reads it is compared to."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import polars as pl
from safetensors.numpy import save_file

from distilrec.encoders import (
    ADAPTER,
    EncoderConfig,
    LanguageModelConfig,
    TextConfig,
    build_encoder,
    encode_contents,
    load_encoder,
    save_encoder,
)
from distilrec.encoders.lora import LoRAConfig, fine_tune
from distilrec.errors import ArtefactError
from distilrec.models import (
    ClosedForm,
    ContentKNN,
    ContentKNNConfig,
    Hybrid,
    ModelConfig,
    SequenceModel,
    build,
    fit_room_,
    load_model,
    place_by_ridge_,
)
from distilrec.pipeline.measure import WORDS
from distilrec.pipeline.stages import Stage
from distilrec.pipeline.task import Context, Task
from distilrec.pipeline.tasks import Content, saved
from distilrec.ranking import Restricted, evaluate
from distilrec.rng import generator

__all__ = ["Ablation", "EncodeContent", "EncodeWords", "FitClosedForm", "FitHybrid", "PlaceByRidge", "TuneContentKNN"]

WORDS_AT_ONCE = 64
MOST_QUERIES = 2_000  # of validation that content-kNN is tuned on


@dataclass(frozen=True)
class EncodeContent(Task):
    """Make vectors of one modality of the items. fine_tuning: of the encoder, before; None takes it as it is."""

    name: str
    config: EncoderConfig
    fine_tuning: LoRAConfig | None = None
    seed: int = 0

    def execute(self, context: Context, on_progress: Callable[[int, int, str], None]) -> Mapping[str, Any]:
        """Encode what isn't cached, and leave the vectors, and what made them."""
        contents, folder = context.prepared.dataset.contents[self.name], context.store.folder(self.stage)
        config = self.config
        if self.fine_tuning is not None:
            config = self._fine_tuned(self.fine_tuning, context, on_progress)
        encoder = build_encoder(config, contents)
        begin = time.monotonic()
        made = encode_contents(
            contents, encoder, folder, progress=lambda done, of: on_progress(done, of, _remaining(begin, done, of))
        )
        save_encoder(encoder, folder)
        return {
            "items": int(made.features.known.sum()),
            "encoded": made.encoded,
            "width": made.features.width,
            "notes": list(made.notes(self.name)),
        }

    def check(self, context: Context) -> None:
        """Raise ArtefactError where the encoder has changed: all that was trained rests on its old vectors."""
        try:
            load_encoder(context.store.folder(self.stage))
        except ArtefactError as error:
            raise ArtefactError(f"encoders.{self.name}: {error}, by naming another --out") from error

    def _fine_tuned(
        self, settings: LoRAConfig, context: Context, on_progress: Callable[[int, int, str], None]
    ) -> EncoderConfig:
        """The encoder with an adapter, which is there whole or not at all."""
        assert isinstance(self.config, TextConfig | LanguageModelConfig)  # the recipe has seen to it
        adapter = context.store.folder(self.stage) / ADAPTER
        if adapter.is_dir():
            return self.config.model_copy(update={"adapter": str(adapter)})
        return fine_tune(
            self.config,
            context.prepared.dataset.contents[self.name],
            context.prepared.split.train,
            settings,
            adapter,
            self.seed,
            lambda epoch, loss: on_progress(epoch, settings.epochs, f"epochs of fine-tuning, loss {loss:.4f}"),
        )


@dataclass(frozen=True)
class EncodeWords(Task):
    """Make a vector for each test query of users who were held out: of what is written on the items of its history.

    So someone is asked for in words who took nothing here, as far as words can stand for it. name: of the modality,
    whose vectors `content` left.
    """

    name: str
    content: Stage

    def execute(self, context: Context, on_progress: Callable[[int, int, str], None]) -> Mapping[str, Any]:
        """Encode in blocks, and leave (Q, D) vectors, NaN where no item of the history has a text."""
        folder, contents = context.store.folder(self.stage), context.prepared.dataset.contents[self.name]
        queries, _ = context.prepared.split.queries("test")
        rows, items = queries.histories.flat()
        written: dict[int, str] = contents.of(np.unique(items))
        texts = pl.DataFrame(
            {"item": list(written), "text": list(written.values())}, schema={"item": pl.Int32, "text": pl.String}
        )
        taken = pl.DataFrame({"row": rows, "item": items}).join(texts, on="item", maintain_order="left")
        told = taken.group_by("row", maintain_order=True).agg(pl.col("text").str.join("\n"))
        encoder = load_encoder(context.store.folder(self.content))
        vectors = np.full((len(queries), 1), np.nan, np.float32)  # as wide as what the encoder makes, once it has
        for begin in range(0, told.height, WORDS_AT_ONCE):
            some = told[begin : begin + WORDS_AT_ONCE]
            found = encoder.encode([encoder.prepare(text) for text in some["text"]])
            if begin == 0:
                vectors = np.full((len(queries), found.shape[1]), np.nan, np.float32)
            vectors[some["row"].to_numpy()] = found
            on_progress(begin + some.height, told.height, "texts")
        save_file({"vectors": vectors}, folder / WORDS)
        return {"texts": told.height}


@dataclass(frozen=True)
class Ablation(Task):
    """A member with some of the sources that it knows items by withheld, as its training left it."""

    member: Stage
    name: str

    def execute(self, context: Context, on_progress: Callable[[int, int, str], None]) -> Mapping[str, Any]:
        """Take it over."""
        return saved(load_model(context.store.folder(self.member) / self.name), context.store.folder(self.stage))


@dataclass(frozen=True)
class TuneContentKNN(Task):
    """Content-kNN with the settings that are best on validation."""

    content: Content

    def execute(self, context: Context, on_progress: Callable[[int, int, str], None]) -> Mapping[str, Any]:
        """Try a grid, by the NDCG@10 of cold items among themselves where items were held out, and save the best."""
        split, catalogue = context.prepared.split, context.catalogue(self.content)
        wanted = np.ones(split.log.n_items, np.bool_) if split.cold_items is None else split.cold_items
        _, queries, targets = split.queries_for("validation", wanted)
        some = np.sort(generator(0, "content-kNN").permutation(len(queries))[:MOST_QUERIES])
        queries, targets = queries[some], targets[some]
        names = [name for name, _ in self.content]
        weighings = [{name: 1.0} for name in names] + ([dict.fromkeys(names, 1.0)] if len(names) > 1 else [])
        grid = list(product(weighings, (None, 64), (20, 100, 1000), (None, 10.0, 50.0)))
        begin, best, chosen = time.monotonic(), -1.0, None
        for done, (weights, components, neighbours, half_life) in enumerate(grid):
            config = ContentKNNConfig(
                weights=weights, components=components, neighbours=neighbours, recency_half_life=half_life
            )
            model = build(config, split.log.n_users, split.log.n_items, seed=0, catalogue=catalogue)
            assert isinstance(model, ContentKNN)
            model.fit(split.train)
            among = Restricted(model, np.flatnonzero(wanted))
            quality = float(evaluate(among, queries, targets)["ndcg@10"].mean())
            if quality > best:
                best, chosen = quality, model
            on_progress(done + 1, len(grid), f"validation NDCG@10 best {best:.4f}")
        assert chosen is not None
        kept = saved(chosen, context.store.folder(self.stage), seconds=time.monotonic() - begin)
        return {**kept, "validation": best, "settings": chosen.config.model_dump(mode="json")}


@dataclass(frozen=True)
class PlaceByRidge(Task):
    """The teacher's member, its cold items placed among its other items by a ridge regression from content."""

    member: Stage
    content: Content
    cost: float

    def execute(self, context: Context, on_progress: Callable[[int, int, str], None]) -> Mapping[str, Any]:
        """Fit, give cold items room in one list as all arms do, and save."""
        model, catalogue, split = context.model(self.member), context.catalogue(self.content), context.prepared.split
        assert isinstance(model, SequenceModel)  # the recipe has seen to it
        assert catalogue is not None
        begin = time.monotonic()
        strength = place_by_ridge_(model, catalogue, [name for name, _ in self.content], split)
        offset = fit_room_(model, split, self.cost)
        kept = saved(model, context.store.folder(self.stage), seconds=time.monotonic() - begin)
        return {**kept, "strength": strength, "cold_offset": offset}


@dataclass(frozen=True)
class FitClosedForm(Task):
    """A model in closed form with its default settings, for comparison."""

    config: ModelConfig

    def execute(self, context: Context, on_progress: Callable[[int, int, str], None]) -> Mapping[str, Any]:
        """Fit and save."""
        log = context.prepared.split.train
        model = build(self.config, log.n_users, log.n_items, seed=0)
        assert isinstance(model, ClosedForm)
        begin = time.monotonic()
        model.fit(log)
        return saved(model, context.store.folder(self.stage), seconds=time.monotonic() - begin)


@dataclass(frozen=True)
class FitHybrid(Task):
    """A student beside models in closed form, their weights fitted on validation."""

    student: Stage
    members: tuple[tuple[str, ModelConfig], ...]
    content: Content

    def execute(self, context: Context, on_progress: Callable[[int, int, str], None]) -> Mapping[str, Any]:
        """Fit the members, then the weights, and save all."""
        split, catalogue = context.prepared.split, context.catalogue(self.content)
        begin = time.monotonic()
        models = [context.model(self.student)]
        for done, (name, config) in enumerate(self.members):
            model = build(config, split.log.n_users, split.log.n_items, seed=0, catalogue=catalogue)
            assert isinstance(model, ClosedForm)  # the recipe allows no others
            model.fit(split.train)
            models.append(model)
            on_progress(done + 1, len(self.members), name)
        hybrid = Hybrid(models, split.train.item_counts())
        hybrid.fit_weights(*split.queries("validation"))
        kept = saved(hybrid, context.store.folder(self.stage), seconds=time.monotonic() - begin)
        return {**kept, "weights": hybrid.table(), "members": ["student", *(name for name, _ in self.members)]}


def _remaining(begin: float, done: int, of: int) -> str:
    """How long the rest will take at this pace, where that is a while."""
    seconds = (time.monotonic() - begin) * (of - done) / max(done, 1)
    return f"items, about {seconds / 60:.0f} min to go" if seconds > 60 else "items"
