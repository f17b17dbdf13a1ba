"""From a bundle to a file for another runtime, through the gate."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from distilrec.errors import ModelError
from distilrec.export.card import with_exports
from distilrec.export.gate import Answer, check
from distilrec.export.mobile import MOBILE
from distilrec.export.web import STUDENT, write_web
from distilrec.export.whole import Whole, write_onnx
from distilrec.models import DotProductModel, load_model
from distilrec.runtime import ExportInfo, Served
from distilrec.runtime.folders import replacing
from distilrec.runtime.graph import open_session
from distilrec.runtime.manifest import CARD, EXPORTS

__all__ = ["TARGETS", "Target", "Thresholds", "export"]

Target: TypeAlias = Literal["onnx", "onnx-int8", "web", "litert", "executorch"]
EXPORT_INFOS = TypeAdapter(dict[str, ExportInfo])
_logger = logging.getLogger(__name__)
TARGETS: tuple[Target, ...] = get_args(Target)


@dataclass(frozen=True)
class Thresholds:
    """What the gate asks for: the share of the ten best items, and of the student's NDCG@10, on held-out queries."""

    overlap: float = 0.95
    quality: float = 0.98


def export(folder: Path, target: Target, out: Path, k: int = 10, thresholds: Thresholds | None = None) -> ExportInfo:
    """Write the student of a bundle for another runtime, if it passes the gate, and note it in the bundle's card.

    folder: of the bundle. out: the file, or the folder of `web`, which is replaced. k: items that an answer has.
    Raises ModelError where the export's answers differ too much; then nothing is written.
    """
    bundle, asked = Served.load(folder), thresholds or Thresholds()
    model = load_model(folder)
    assert isinstance(model, DotProductModel)  # a bundle has no others
    if len(bundle.held_out().queries) == 0:
        raise ModelError("this bundle has no held-out queries to compare on; run the recipe again")
    out.parent.mkdir(parents=True, exist_ok=True)
    if target == "web":
        with replacing(out, STUDENT) as new:
            info = _checked(model, bundle, target, k, new, asked)
    else:
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as own:
            info = _checked(model, bundle, target, k, Path(own) / out.name, asked)
            os.replace(Path(own) / out.name, out)
    _note(bundle, target, info)
    return info


def _checked(
    model: DotProductModel, bundle: Served, target: Target, k: int, path: Path, asked: Thresholds
) -> ExportInfo:
    """Write it, and let it through the gate."""
    with _written(model, bundle, target, k, path) as (answer, size, length):
        held_out, least = bundle.held_out(), {"least_overlap": asked.overlap, "least_quality": asked.quality}
        return check(answer, held_out, size, **least).model_copy(update={"length": length})


@contextmanager
def _written(
    model: DotProductModel, bundle: Served, target: Target, k: int, path: Path
) -> Iterator[tuple[Answer, int, int | None]]:
    """Write it; what it answers, the bytes of the student, and the length of a history, where it takes no other."""
    if target in MOBILE:
        whole, mobile = Whole(model, k), MOBILE[target]
        longest = int(bundle.held_out().queries.histories.lengths.max(initial=0))
        length = mobile.write(whole, longest, path)
        with mobile.answering(whole, path, length) as answer:
            yield answer, path.stat().st_size, length
        return
    if target == "web":
        whole, student = write_web(model, bundle, k, path), path / STUDENT
    else:
        whole, student = Whole(model, k, int8=target == "onnx-int8"), path
        write_onnx(whole, student)
    session, names = open_session(student), whole.inputs

    def answered(users: NDArray[np.int64], histories: NDArray[np.int64]) -> NDArray[np.integer]:
        given = {"user": users, "history": histories}
        items: NDArray[np.int64] = session.run(["items"], {name: given[name] for name in names})[0]
        return items

    yield answered, student.stat().st_size, None


def _note(bundle: Served, target: Target, info: ExportInfo) -> None:
    """Say in the bundle's exports.json and card what was exported of it, where it may be written."""
    place, card = bundle.folder / EXPORTS, bundle.folder / CARD
    try:
        known = EXPORT_INFOS.validate_json(place.read_bytes()) if place.is_file() else {}
        known[target] = info
        _write(place, EXPORT_INFOS.dump_json(known, indent=1).decode())
        if card.is_file():
            _write(card, with_exports(card.read_text(encoding="utf-8"), known))
    except (OSError, ValueError) as error:
        _logger.warning("the export is written, but couldn't be noted in %s: %s", bundle.folder, error)


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
