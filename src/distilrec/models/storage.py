"""Models on disk: a settings file and a safetensors file, in full or reduced precision."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_file, save, save_file
from scipy.cluster.vq import kmeans2
from torch import Tensor

from distilrec.errors import ArtefactError
from distilrec.models.base import Model, ModelConfig
from distilrec.models.domain_view import DomainView
from distilrec.models.ensemble import Ensemble
from distilrec.models.hybrid import Hybrid
from distilrec.models.registry import AnyModelConfig, build
from distilrec.scoring import Ragged
from distilrec.weights import Precision, decode

__all__ = ["Precision", "load_model", "quantize_", "rounded", "save_model"]

FORMAT = 1
SETTINGS, WEIGHTS = "model.json", "model.safetensors"
# A matrix of fewer values gains nothing from codes and loses more than most.
SMALLEST_CODED = 1024
PQ_DIMENSIONS, PQ_CODES = 4, 256


def save_model(model: Model, folder: Path, precision: Precision = "float32") -> int:
    """Write a model into `folder` and return the bytes of its weights file.

    precision: of the numbers on disk; what `load_model` gives back is rounded accordingly.
    float16: all. int8: matrices of at least 1024 values as one signed byte per value with a float16 scale per
    row (largest magnitude / 127, as a share of the matrix's largest scale, so that rows of tiny values keep their
    digits), the rest, and a history encoder's weights by distance, float16. pq: item vectors as product-quantised
    codes, one byte for four dimensions, after Jegou, Douze and Schmid, TPAMI 2011; all else as int8.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = _encode(model.serving_state(), precision)
    partial = folder / f"{WEIGHTS}.partial"
    save_file(tensors, partial)
    partial.replace(folder / WEIGHTS)
    settings = {"format": FORMAT, "precision": precision, **_describe(model)}
    partial = folder / f"{SETTINGS}.partial"
    partial.write_text(json.dumps(settings, indent=2), encoding="utf-8")
    partial.replace(folder / SETTINGS)
    return (folder / WEIGHTS).stat().st_size


def load_model(folder: Path) -> Model:
    """Read a model that `save_model` wrote; raises ArtefactError on a damaged or foreign one."""
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        if settings["format"] != FORMAT:
            raise ValueError(f"it has format {settings['format']}, this version reads {FORMAT}")
        model = _make(settings)
        _restore(model, load_file(folder / WEIGHTS))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ArtefactError(f"The model in {folder} can't be read: {error}; train it again") from error
    model.eval()
    return model


def quantize_(model: Model, precision: Precision) -> Model:
    """Round the model's weights as saving them with that precision would, in place.

    >>> from distilrec.models import MatrixFactorizationConfig
    >>> model = build(MatrixFactorizationConfig(embedding_size=8), 200, 300, seed=0)
    >>> before = model.item_vectors().clone()
    >>> error = (quantize_(model, "int8").item_vectors() - before).abs().max()
    >>> bool(0 < error < before.abs().max() / 127)
    True
    """
    _restore(model, _encode(model.serving_state(), precision))
    return model


def rounded(state: Mapping[str, Tensor], precision: Precision) -> tuple[dict[str, Tensor], int]:
    """Tensors as they come back from a file of that precision, and the bytes of the file."""
    encoded = _encode(state, precision)
    return _decoded(encoded), len(save(encoded))


def _describe(model: Model) -> dict[str, Any]:
    if isinstance(model, Ensemble | Hybrid):
        members = [_describe(member) for member in model.list_members()]
        if isinstance(model, Hybrid):
            return {"model": "hybrid", "members": members}
        return {"model": "ensemble", "members": members, "by_history": model.by_history}
    if isinstance(model, DomainView):
        sizes = {"n_users": model.n_users, "n_items": model.n_items, "elsewhere": len(model.elsewhere)}
        return {"model": "domain_view", "inner": _describe(model.inner), **sizes}
    config: ModelConfig = model.config  # type: ignore[assignment]
    sizes = {"n_users": model.n_users, "n_items": model.n_items}
    return {**sizes, "config": config.model_dump(mode="json")}


def _make(settings: Mapping[str, Any]) -> Model:
    if settings.get("model") == "ensemble":
        return Ensemble([_make(member) for member in settings["members"]], by_history=settings["by_history"])
    if settings.get("model") == "hybrid":
        members = [_make(member) for member in settings["members"]]
        return Hybrid(members, np.zeros(members[0].n_items, np.int64))
    if settings.get("model") == "domain_view":
        users, items = (np.zeros(int(settings[name]), np.int32) for name in ("n_users", "n_items"))
        elsewhere = np.zeros(int(settings["elsewhere"]), np.int32)
        nothing = np.zeros(len(users), np.int64)
        return DomainView(_make(settings["inner"]), users, items, Ragged(nothing, nothing, elsewhere))
    config: ModelConfig = TypeAdapter(AnyModelConfig).validate_python(settings["config"])
    return build(config, int(settings["n_users"]), int(settings["n_items"]), seed=0)


def _encode(state: Mapping[str, Tensor], precision: Precision) -> dict[str, Tensor]:
    """The tensors as on disk; a coded one becomes several, its name followed by ':' and what it is."""
    encoded: dict[str, Tensor] = {}
    for name, value in state.items():
        tensor = value.detach().cpu().contiguous()
        if not tensor.is_floating_point() or precision == "float32":
            encoded[name] = tensor.clone()
        elif precision == "pq" and name == "items":
            encoded |= {f"{name}:{part}": codes for part, codes in _product_quantize(tensor).items()}
        elif precision != "float16" and tensor.ndim == 2 and tensor.numel() >= SMALLEST_CODED and not _is_steep(name):
            scale = tensor.abs().amax(1) / 127
            unit = scale.amax().clamp(min=torch.finfo(torch.float32).tiny)
            share = (scale / unit).clamp(min=torch.finfo(torch.float16).tiny).half()
            codes = (tensor / (unit * share.float()).unsqueeze(1)).round().clamp(-127, 127).to(torch.int8)
            encoded |= {f"{name}:codes": codes, f"{name}:scale": share, f"{name}:unit": unit}
        else:
            encoded[name] = tensor.half()
    return encoded


def _is_steep(name: str) -> bool:
    """Whether rows reach so far that codes of one scale don't tell apart what counts: how recent is recent."""
    return name.rpartition(".")[2] == "distance_bias"


def _decoded(encoded: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in decode({k: v.numpy() for k, v in encoded.items()}).items()}


def _restore(model: Model, encoded: Mapping[str, Tensor]) -> None:
    state, expected = _decoded(encoded), model.serving_state()
    if state.keys() != expected.keys():
        raise ValueError(f"expected the tensors {sorted(expected)}, found {sorted(state)}")
    with torch.no_grad():
        for name, target in expected.items():
            if target.shape != state[name].shape:
                raise ValueError(f"{name}: expected shape {tuple(target.shape)}, found {tuple(state[name].shape)}")
            target.copy_(state[name])


def _product_quantize(vectors: Tensor) -> dict[str, Tensor]:
    """Codes (N, M) uint8 and books (M, 256, 4) float16, by k-means in each group of four dimensions."""
    width = vectors.shape[1]
    padded = torch.nn.functional.pad(vectors, (0, -width % PQ_DIMENSIONS)).double().numpy()
    groups = np.split(padded, padded.shape[1] // PQ_DIMENSIONS, axis=1)
    books, codes = zip(*map(_codebook, groups), strict=True)
    return {
        "codes": torch.from_numpy(np.stack(codes, axis=1).astype(np.uint8)),
        "books": torch.from_numpy(np.stack(books)).half(),
        "width": torch.tensor(width),
    }


def _codebook(group: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.integer[Any]]]:
    """Book (min(256, N), 4) and codes (N,) of the vectors (N, 4); exact where they are few."""
    distinct: NDArray[np.float64]
    codes: NDArray[np.integer[Any]]
    distinct, codes = np.unique(group, axis=0, return_inverse=True)
    if len(distinct) > PQ_CODES:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="One of the clusters is empty")  # its code stays unused
            distinct, codes = kmeans2(group, PQ_CODES, iter=25, minit="++", rng=np.random.default_rng(0))
    book = np.zeros((min(PQ_CODES, len(group)), PQ_DIMENSIONS))
    book[: len(distinct)] = distinct
    return book, codes
