"""Encoded images and recordings, decoded."""

from __future__ import annotations

import importlib
import io
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from distilrec.errors import DataError, require

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["middle", "read_image", "read_windows"]

MOST_PIXELS = 100_000_000
LONGEST = 100  # times as long as wide, or as wide as long
RATES = range(1_000, 384_001)  # Hz, of recordings
MOST_CHANNELS = 16


def read_image(value: bytes) -> Image.Image:
    """Decode an image to RGB: upright, 16 bits as 8, transparency on white, of an animation the first frame.

    Raises DataError where it is broken, of more than 100 million pixels, or 100 times as long as wide.

    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.new("LA", (1, 2), (0, 0)).save(file, "png")  # black, and wholly transparent
    >>> read_image(file.getvalue()).getpixel((0, 0))
    (255, 255, 255)
    """
    require("PIL", "content", "the image encoder")
    from PIL import Image, ImageOps

    with _decoding():
        image: Image.Image = Image.open(io.BytesIO(value))
    width, height = image.size
    if width * height > MOST_PIXELS or max(width, height) > LONGEST * min(width, height):
        raise DataError(
            f"the image has {width:,} x {height:,} pixels; at most {MOST_PIXELS:,} are decoded, and sides of "
            f"{LONGEST} to 1; replace it"
        )
    with _decoding():
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):  # 16 bits, which Pillow would clip and not scale
            image = Image.fromarray(np.rint(np.asarray(image).clip(0, 65535) / 257).astype(np.uint8))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return image.convert("RGB")


@contextmanager
def _decoding() -> Iterator[None]:
    from PIL import UnidentifiedImageError

    try:
        with warnings.catch_warnings(action="ignore"):  # of faults that Pillow gets over, such as broken EXIF
            yield
    except UnidentifiedImageError as error:
        raise DataError("the image is of no known format; replace it") from error
    except Exception as error:  # decoders of broken files raise nearly anything
        raise DataError(f"the image can't be read ({error}); replace it") from error


def middle(image: Image.Image, size: int) -> NDArray[np.float32]:
    """(3, size, size), 0 to 255: the middle, size / (size + 32) of the shorter side, resized."""
    from PIL import Image

    side = min(image.size) * size / (size + 32)
    left, top = ((length - side) / 2 for length in image.size)
    square = image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    return np.asarray(square, np.float32).transpose(2, 0, 1)


def read_windows(value: bytes, rate: int, samples: int, most: int) -> NDArray[np.float32]:
    """(w, samples) float32 from an encoded recording: all channels mixed, at `rate` Hz.

    As many windows as cover it, spread evenly, but no more than `most`; only those are decoded. Where it is shorter,
    silence follows; where it goes beyond -1 and 1, it is scaled down to them.
    Raises DataError where it is broken, empty, or of more than 16 channels, or at less than 1 or more than 384 kHz.

    >>> import soundfile
    >>> file = io.BytesIO()
    >>> soundfile.write(file, np.full((6, 2), [0.0, 0.5]), 8000, format="WAV")
    >>> read_windows(file.getvalue(), 8000, 4, 8)
    array([[0.25, 0.25, 0.25, 0.25],
           [0.25, 0.25, 0.25, 0.25]], dtype=float32)
    """
    require("soundfile", "content", "the audio encoder")
    soundfile = importlib.import_module("soundfile")
    try:
        with soundfile.SoundFile(io.BytesIO(value)) as file:
            if file.samplerate not in RATES or file.channels > MOST_CHANNELS:
                raise DataError(f"the sound has {file.channels:,} channels at {file.samplerate:,} Hz; convert it")
            length = math.ceil(samples * file.samplerate / rate)
            windows = np.stack([_read(file, start, length) for start in _starts(file.frames, length, most)])
            native = file.samplerate
    except soundfile.SoundFileError as error:
        raise DataError(f"the sound can't be read ({getattr(error, 'error_string', error)}); replace it") from error
    if not np.isfinite(windows).all():
        raise DataError("the sound holds NaN or infinity; replace it")
    windows /= max(1.0, float(np.abs(windows).max()))
    return _resampled(windows, native, rate)[:, :samples]


def _starts(frames: int, length: int, most: int) -> list[int]:
    if not 0 < frames < 2**40:  # the latter where a stream was written without its length
        raise DataError("the sound is empty, or doesn't tell how long it is; write it anew")
    count = min(most, math.ceil(frames / length))
    middles = (np.arange(count) + 0.5) * (frames / count)
    return [int(start) for start in (middles - length / 2).clip(0, max(frames - length, 0))]


def _read(file: Any, start: int, length: int) -> NDArray[np.float32]:
    file.seek(start)
    found = file.read(length, dtype="float32", always_2d=True)
    if len(found) == 0:
        raise DataError("the sound ends before its length; replace it")
    window = np.zeros(length, np.float32)
    window[: len(found)] = found.mean(1)
    return window


def _resampled(windows: NDArray[np.float32], native: int, rate: int) -> NDArray[np.float32]:
    if native == rate:
        return windows
    require("scipy", "train", "resampling sound")
    from scipy.signal import resample_poly

    common = math.gcd(native, rate)
    resampled: NDArray[np.float32] = resample_poly(windows, rate // common, native // common, axis=1)
    return resampled.astype(np.float32)
