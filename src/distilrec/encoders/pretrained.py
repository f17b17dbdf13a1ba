"""Models of transformers that turn images or sound into vectors, and what other such encoders share with them."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from distilrec.errors import MissingExtraError, ModelError, require

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Pretrained", "batches", "finished", "model_files", "quiet", "require_package"]


class Pretrained:
    """A model of transformers in a folder, and what it pools from its input.

    part: the key of its settings under which those of the half lie that is wanted, where it has several.
    takes: the names that its input may have.
    The vector is the model's own pooling where that was trained or has no weights (ResNet, EfficientNet, ConvNeXt,
    Swin, CLIP, AST); otherwise the CLS token (ViT), or the mean over all places where there is none.
    Raises ModelError where the folder can't be loaded, lacks weights, or is of a model for something else.
    """

    def __init__(self, folder: Path, part: str, takes: Sequence[str]) -> None:
        require("transformers", "content", "an encoder of images or sound")
        import torch

        transformers = importlib.import_module("transformers")
        try:
            config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            config = getattr(config, part, config)
            if hasattr(config, "mask_ratio"):
                config.mask_ratio = 0.0  # ViTMAE would hide three quarters of an image at random
            with quiet():
                self._model, info = transformers.AutoModel.from_pretrained(
                    folder,
                    config=config,
                    dtype=torch.float32,
                    local_files_only=True,
                    trust_remote_code=False,
                    output_loading_info=True,
                )
        except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
            raise ModelError(f"{folder} can't be loaded by transformers ({error}); name another model") from error
        self._folder, self._input = folder, self._model.main_input_name
        untrained = sorted(name for name in info["missing_keys"] if "pooler" not in name)
        if untrained:
            raise ModelError(f"{folder} lacks weights of {', '.join(untrained[:3])}; get the model's files anew")
        if self._input not in takes or self._model.config.is_encoder_decoder:
            raise ModelError(
                f"{folder} holds a {type(self._model).__name__}, which doesn't turn {' or '.join(takes)} into vectors; "
                "name another model"
            )
        self._pools = not info["missing_keys"]
        self._has_cls = any(name.endswith("cls_token") for name, _ in self._model.named_parameters())
        self._model.eval()

    def vectors(self, rows: Sequence[NDArray[np.float32]], batch_size: int) -> NDArray[np.float32]:
        """N arrays of one shape -> (n, D) float32. Raises ModelError where shapes differ or don't fit."""
        import torch

        parts = []
        with torch.inference_mode():
            for batch in batches(rows, batch_size):
                try:
                    output = self._model(**{self._input: torch.from_numpy(batch)})
                except (ValueError, RuntimeError) as error:
                    raise ModelError(
                        f"{self._folder} can't be run on {batch.shape} ({error}); correct its preprocessor_config.json"
                    ) from error
                parts.append(self._pooled(output).numpy())
        return np.concatenate(parts)

    def _pooled(self, output: Any) -> Tensor:
        pooled: Tensor | None = output.get("pooler_output") if self._pools else None
        if pooled is not None:
            return pooled.flatten(1)
        hidden: Tensor | None = output.get("last_hidden_state")
        if hidden is None:
            raise ModelError(f"{self._folder} gives no hidden states to pool; name another model")
        if hidden.ndim == 4:
            return hidden.mean((2, 3))
        return hidden[:, 0] if self._has_cls else hidden.mean(1)


def model_files(folder: Path) -> list[Path]:
    """The files in a model's folder on which its vectors depend. Raises ModelError where there are no settings."""
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} has no config.json; name the folder of a model of transformers")
    return [path for path in sorted(folder.iterdir()) if path.suffix in (".json", ".safetensors", ".bin")]


def require_package(package: str, purpose: str, pip: str) -> None:
    """Raise MissingExtraError, with the line that installs it, where a package of PyPI isn't there.

    >>> require_package("json", "reading", "json")
    """
    if importlib.util.find_spec(package) is None:
        raise MissingExtraError(
            f"{purpose} needs the package {package!r}, which isn't installed; install it with: pip install {pip}"
        )


def batches(rows: Sequence[NDArray[np.float32]], size: int) -> Iterator[NDArray[np.float32]]:
    """N arrays of one shape -> (b, ...), b <= `size`, until none are left. Raises ModelError where shapes differ."""
    shapes = {row.shape for row in rows}
    if len(shapes) > 1:
        raise ModelError(f"the model's settings give inputs of shapes {sorted(shapes)[:3]}; set one size and a crop")
    for begin in range(0, len(rows), size):
        yield np.ascontiguousarray(np.stack(rows[begin : begin + size]))


def finished(vectors: NDArray[np.float32], normalise: bool, name: str) -> NDArray[np.float32]:
    """(n, D) float32, each of length 1 if wanted. Raises ModelError on NaN and infinity; name: of the model.

    >>> finished(np.array([[3.0, 4.0], [0.0, 0.0]], np.float32), True, "mine")
    array([[0.6, 0.8],
           [0. , 0. ]], dtype=float32)
    """
    if not np.isfinite(vectors).all():
        raise ModelError(f"{name} gives NaN or infinity for content that is readable; name another model")
    if not normalise:
        return vectors
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    units: NDArray[np.float32] = (vectors / lengths.clip(min=np.finfo(np.float32).tiny)).astype(np.float32)
    return units


@contextmanager
def quiet() -> Iterator[None]:
    """Without the bars and tables that transformers prints while it loads; what matters of them is checked."""
    logging = importlib.import_module("transformers.utils.logging")
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
