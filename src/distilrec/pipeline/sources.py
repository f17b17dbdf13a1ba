"""Models that know items by content, as runs leave them: room for cold items, and with some sources withheld."""

from __future__ import annotations

from pathlib import Path

import torch

from distilrec.models import ContentConfig, Model, SequenceModel, fit_room_, save_model
from distilrec.pipeline.task import Context

__all__ = ["ablations", "asked_for", "give_room", "save_ablations"]


def asked_for(content: ContentConfig) -> tuple[str, ...]:
    """The sources that an ablation is about: where content is for new items only, the others keep their ids."""
    return content.modalities if content.new_only else content.sources


def ablations(content: ContentConfig) -> dict[str, tuple[str, ...]]:
    """What is withheld of a model that knows items so, by what that is called: all sources but one, and each one.

    >>> ablations(ContentConfig(modalities=("text",)))
    {'text only': ('ids',), 'ids only': ('text',)}
    >>> ablations(ContentConfig(modalities=("text", "image"), new_only=True))
    {'text only': ('image',), 'image only': ('text',)}
    """
    sources = asked_for(content)
    if len(sources) < 2:
        return {}
    alone = {f"{one} only": tuple(name for name in sources if name != one) for one in sources}
    without = {f"without {one}": (one,) for one in sources}
    return alone if len(sources) == 2 else alone | without


def save_ablations(model: Model, context: Context, cost: float | None, folder: Path) -> None:
    """Save the model as it is with some of its sources withheld, and leave it as it was."""
    assert isinstance(model, SequenceModel)  # the recipe has seen to it
    assert model.tower is not None
    whole = {name: value.clone() for name, value in model.state_dict().items()}
    for name, withheld in ablations(model.tower.config).items():
        with torch.no_grad():
            model.items.copy_(model.tower(withheld))
        give_room(model, context, cost)
        save_model(model, folder / name)
        model.load_state_dict(whole)


def give_room(model: Model, context: Context, cost: float | None) -> dict[str, float]:
    """Give cold items room in one list with the others, where the model knows them by content; and say how much."""
    if cost is None or not isinstance(model, SequenceModel) or model.tower is None:
        return {}
    return {"cold_offset": fit_room_(model, context.prepared.split, cost)}
