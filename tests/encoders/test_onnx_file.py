from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from distilrec.encoders.onnx_file import OnnxFile, onnx_parts
from distilrec.errors import ModelError


def saved(
    path: Path, *nodes: Any, inputs: dict[str, list[Any]], output: list[Any], dtype: int = TensorProto.FLOAT
) -> Path:
    """A file of these nodes, from its inputs to `y`."""
    taken = [helper.make_tensor_value_info(name, dtype, shape) for name, shape in inputs.items()]
    given = [helper.make_tensor_value_info("y", dtype, output)]
    graph = helper.make_graph(list(nodes), "graph", taken, given)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def identity(path: Path, shape: list[Any], **options: Any) -> Path:
    return saved(path, helper.make_node("Identity", ["x"], ["y"]), inputs={"x": shape}, output=shape, **options)


def test_a_model_that_torch_exported_answers_as_it_does_in_torch(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1)).eval()
    batch = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "model.onnx"
    with warnings.catch_warnings(action="ignore"):  # of torch's own exporter
        torch.onnx.export(model, (batch,), path, dynamic_shapes=({0: torch.export.Dim("batch")},), verbose=False)

    file = OnnxFile(path, ranks=(4,))

    assert file.shape == (None, 3, 8, 8)
    with torch.inference_mode():
        expected = model(batch).flatten(1).numpy()
    np.testing.assert_allclose(file.vectors(list(batch.numpy())), expected, atol=1e-6)


def test_weights_beside_the_file_belong_to_it(tmp_path: Path) -> None:
    """Or a fingerprint wouldn't change with them, and old vectors would be taken for new ones."""
    for name in ("model.onnx", "model.onnx.data", "model.onnx_data", "model.onnxruntime", "other.onnx.data"):
        (tmp_path / name).touch()

    assert [path.name for path in onnx_parts(tmp_path / "model.onnx")] == [
        "model.onnx",
        "model.onnx.data",
        "model.onnx_data",
    ]


@pytest.mark.parametrize("shape", [(4,), (4, 1, 1)])
def test_vectors_come_as_they_are(tmp_path: Path, shape: tuple[int, ...]) -> None:
    rows = np.arange(8, dtype=np.float32).reshape(2, *shape)
    file = OnnxFile(identity(tmp_path / "m.onnx", ["batch", *shape]), ranks=(2, 4))

    np.testing.assert_array_equal(file.vectors(list(rows)), rows.reshape(2, 4))


def test_of_several_vectors_per_row_the_mean_is_taken(tmp_path: Path) -> None:
    file = OnnxFile(identity(tmp_path / "m.onnx", ["batch", "length", 2]), ranks=(3,))

    vectors = file.vectors([np.array([[1, 2], [3, 6]], np.float32), np.array([[5, 7]], np.float32)])

    assert vectors.tolist() == [[2, 4], [5, 7]]


def test_a_quantised_models_rows_do_not_depend_on_each_other(tmp_path: Path) -> None:
    """Dynamic quantisation takes its scale from the whole batch: beside a large row, a small one would become 0."""
    path = saved(
        tmp_path / "m.onnx",
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
        inputs={"x": ["batch", 2]},
        output=["batch", 2],
    )
    small, large = np.array([0.1, 0.2], np.float32), np.array([1000, -1000], np.float32)
    file = OnnxFile(path, ranks=(2,))

    np.testing.assert_array_equal(file.vectors([small, large])[:1], file.vectors([small]))
    np.testing.assert_allclose(file.vectors([small, large])[0], small, atol=1e-3)


def test_it_uses_as_many_threads_as_torch(tmp_path: Path) -> None:
    file = OnnxFile(identity(tmp_path / "m.onnx", ["batch", 2]), ranks=(2,))

    assert file._session.get_session_options().intra_op_num_threads == torch.get_num_threads()


@pytest.mark.parametrize("content", [b"", b"not a model"])
def test_a_broken_file_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)

    with pytest.raises(ModelError, match=r"m\.onnx can't be opened as an ONNX file"):
        OnnxFile(path, ranks=(2,))


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"m\.onnx can't be opened"):
        OnnxFile(tmp_path / "m.onnx", ranks=(2,))


def test_other_inputs_are_told(tmp_path: Path) -> None:
    two = saved(
        tmp_path / "two.onnx",
        helper.make_node("Add", ["a", "b"], ["y"]),
        inputs={"a": ["batch", 2], "b": ["batch", 2]},
        output=["batch", 2],
    )
    numbers = identity(tmp_path / "numbers.onnx", ["batch", 2], dtype=TensorProto.INT64)

    with pytest.raises(ModelError, match=r"takes a .*, b .*; expected one float32 input of 2 axes"):
        OnnxFile(two, ranks=(2,))
    with pytest.raises(ModelError, match=r"tensor\(int64\); expected one float32 input"):
        OnnxFile(numbers, ranks=(2,))
    with pytest.raises(ModelError, match="expected one float32 input of 3 or 4 axes"):
        OnnxFile(identity(tmp_path / "m.onnx", ["batch", 2]), ranks=(3, 4))


def test_a_fixed_batch_is_told_unless_it_is_1(tmp_path: Path) -> None:
    one = OnnxFile(identity(tmp_path / "one.onnx", [1, 2]), ranks=(2,))

    assert len(one.vectors([np.zeros(2, np.float32)] * 3)) == 3
    with pytest.raises(ModelError, match="takes 4 rows at once; export it with an open first axis"):
        OnnxFile(identity(tmp_path / "four.onnx", [4, 2]), ranks=(2,))


@pytest.mark.parametrize("shape", [(3,), (1, 2)])
def test_rows_that_do_not_fit_are_told(tmp_path: Path, shape: tuple[int, ...]) -> None:
    file = OnnxFile(identity(tmp_path / "m.onnx", ["batch", 2]), ranks=(2,))

    with pytest.raises(ModelError, match=r"takes \(any, 2\), given \(1, "):
        file.vectors([np.zeros(shape, np.float32)])


def test_what_fails_inside_the_model_is_told(tmp_path: Path) -> None:
    shape = helper.make_node("Constant", [], ["s"], value=helper.make_tensor("s", TensorProto.INT64, [2], [1, 7]))
    path = saved(
        tmp_path / "m.onnx",
        shape,
        helper.make_node("Reshape", ["x", "s"], ["y"]),
        inputs={"x": ["batch", "width"]},
        output=[1, 7],
    )

    with pytest.raises(ModelError, match=r"can't be run on \(1, 3\)"):
        OnnxFile(path, ranks=(2,)).vectors([np.zeros(3, np.float32)])


def test_an_output_that_is_no_vector_is_told(tmp_path: Path) -> None:
    file = OnnxFile(identity(tmp_path / "m.onnx", ["batch", 2, 3, 3]), ranks=(4,))

    with pytest.raises(ModelError, match=r"first output has shape \(1, 2, 3, 3\); .* pool it"):
        file.vectors([np.zeros((2, 3, 3), np.float32)])
