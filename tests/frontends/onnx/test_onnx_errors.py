"""What the ONNX front end refuses, and in which words."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx
from onnx import TensorProto, helper, numpy_helper

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.onnx.front import convert_onnx
from rnnpool_mcu.frontends.onnx.reader import MAX_FILE_BYTES, parse_onnx
from rnnpool_mcu.importing import load_graph
from tests.onnx_models import Builder, quantized, small_network


@cache
def _small() -> bytes:
    return quantized(small_network())


def _refused(model: Any) -> str:
    data = model if isinstance(model, bytes) else model.SerializeToString()
    with pytest.raises(ModelError) as caught:
        convert_onnx(parse_onnx(data, "net.onnx"))
    return str(caught.value)


def _changed(change: Callable[[Any], None]) -> Any:
    model = onnx.ModelProto.FromString(_small())
    change(model)
    return model


def _node(model: Any, kind: str) -> Any:
    return next(node for node in model.graph.node if node.op_type == kind)


def _initializer(model: Any, ending: str) -> Any:
    return next(tensor for tensor in model.graph.initializer if tensor.name.endswith(ending))


def _replace(model: Any, ending: str, values: Any) -> None:
    tensor = _initializer(model, ending)
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(values), tensor.name))


def test_a_float_model_says_how_to_quantize() -> None:
    message = _refused(small_network())
    assert "the model is float" in message and "quantize_static" in message and "QuantFormat.QDQ" in message


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("DynamicQuantizeLinear", "quantized dynamically, supported: statically"),
        ("QLinearConv", "is computed or missing, supported: stored in the file"),
        ("Loop", "Loop, operator 10 ('image_DequantizeLinear_Output'"),
        ("Cos", "is not supported; supported: Abs, Add, ArgMax"),
        ("LSTM", "is not supported: ONNX's quantizers leave it in float; give the torch module"),
        ("GRU", "is not supported: ONNX's quantizers leave it in float; give the torch module"),
        ("RNN", "is not supported: a plain recurrent layer without gates; train torch's nn.GRU"),
    ],
)
def test_operators_are_named(kind: str, words: str) -> None:
    def change(model: Any) -> None:
        node = _node(model, "Conv")
        node.op_type = kind
        del node.attribute[:]

    assert words in _refused(_changed(change))


def test_every_operator_that_cannot_be_taken_is_named() -> None:
    """Those with the same problem together; nothing is said of those that are only behind one."""

    def change(model: Any) -> None:
        convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
        for node, kind in zip(convolutions, ("Cos", "Conv", "Sin"), strict=True):
            node.op_type = kind
        convolutions[0].domain, convolutions[0].op_type = "com.example", "Spectrogram"
        _node(model, "MaxPool").op_type = "Cos"

    lines = _refused(_changed(change)).splitlines()
    assert lines[0].endswith("3 operators cannot be taken:")
    assert lines[1].startswith("  com.example.Spectrogram, operator 10 (")
    assert "is of the domain 'com.example'" in lines[2]
    assert lines[3].startswith("  Sin, operator ") and lines[4].startswith("  Cos, operator ")
    assert "is not supported; supported: Abs, Add" in lines[5]
    assert len(lines) == 6


@pytest.mark.parametrize("what", ["input", "initializer"])
def test_two_values_of_one_name_are_refused(what: str) -> None:
    def repeat(model: Any) -> None:
        values = getattr(model.graph, what)
        values.append(values[0])

    assert f"{what} '" in (told := _refused(_changed(repeat))) and "stands there twice" in told


def test_a_custom_operator_is_named() -> None:
    def change(model: Any) -> None:
        _node(model, "Conv").domain = "com.example"

    message = _refused(_changed(change))
    assert "com.example.Conv, operator " in message and "is of the domain 'com.example'" in message


@pytest.mark.parametrize("opset", [6, 99])
def test_an_opset_that_nobody_knows_is_refused(opset: int) -> None:
    message = _refused(_changed(lambda model: setattr(model.opset_import[0], "version", opset)))
    assert f"opset {opset}, supported: 7..23" in message


def _shape(*sides: int | str) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        value = model.graph.input[0]
        value.CopyFrom(helper.make_tensor_value_info(value.name, TensorProto.FLOAT, sides))

    return change


def test_an_open_batch_is_one() -> None:
    data = _changed(_shape("N", 3, 12, 10)).SerializeToString()
    assert convert_onnx(parse_onnx(data, "net")).graph.input_type.shape == (12, 10, 3)


def test_shapes_that_the_file_computes_are_folded() -> None:
    """A pad as torch's exporter writes it: zeros of a stored length joined with what is padded."""
    b = Builder(2)
    x = b.conv(b.input(1, 2, 6, 5), 2, 4)
    zeros = b.node("ConstantOfShape", b.stored(np.array([4])), value=numpy_helper.from_array(np.array([0])))
    sides = b.node("Concat", zeros, b.stored(np.array([0, 0, 1, 2])), axis=0)
    data = quantized(b.finish(b.conv(b.node("Pad", x, b.node("Cast", sides, to=TensorProto.INT64)), 4, 3)))
    graph = convert_onnx(parse_onnx(data, "net")).graph
    assert [graph.types[node.name].shape[:2] for node in graph.nodes] == [(6, 5), (7, 7), (7, 7)]


def test_a_folded_tensor_is_small() -> None:
    b = Builder(2)
    shape = b.node("ConstantOfShape", b.stored(np.array([1 << 20, 1 << 20])))
    model = b.finish(b.node("Reshape", b.conv(b.input(1, 2, 6, 5), 2, 4), shape))
    model.graph.node.append(helper.make_node("QuantizeLinear", ["image", "constant_0"], ["unused"]))
    assert "ConstantOfShape, operator 0" in _refused(model)


def _two_inputs(model: Any) -> None:
    model.graph.input.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, [1, 2]))


def _int16(model: Any) -> None:
    _replace(model, "image_zero_point", np.int16(0))


def _asymmetric(model: Any) -> None:
    _replace(model, "weights_0_zero_point", np.full(8, 3, np.int8))  # some weights are -127


def _unquantized_edge(model: Any) -> None:
    """The first addition reads what the quantizer of the depthwise layer reads."""
    add, depthwise = _node(model, "Add"), [n for n in model.graph.node if n.op_type == "Conv"][2]
    add.input[1] = depthwise.output[0]


def _float_weights(model: Any) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((8, 3, 3, 3), np.float32), "real"))
    _node(model, "Conv").input[1] = "real"


def _control_flow(model: Any) -> None:
    _node(model, "MaxPool").op_type = "If"


def _twice(model: Any) -> None:
    model.graph.node.append(_node(model, "MaxPool"))


def _input_is_output(model: Any) -> None:
    model.graph.output[0].name = _node(model, "QuantizeLinear").output[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_shape(4, 3, 12, 10), "batch 4, supported: 1"),
        (_shape(1, 3, "height", 10), "has sides that are not fixed, it is [1, 3, -1, 10]"),
        (_shape(1, 3, 1 << 30, 1 << 30), "1073741824x1073741824x3, allowed: height and width 1..32768"),
        (_shape(1, 4, 12, 10), "for 4 channels; the file is damaged"),
        (_two_inputs, "no operator reads the input 'other'"),
        (_int16, "'image': int16 activations, supported: int8, uint8"),
        (_asymmetric, "less their zero point, allowed: -128..127"),
        (_unquantized_edge, "has no quantization"),
        (_float_weights, "weights 'real' are float, supported: stored int8 through DequantizeLinear"),
        (_control_flow, "control flow is not supported"),
        (_twice, "is made twice; the file is damaged"),
        (_input_is_output, "an output is the model's input itself"),
        (lambda m: _replace(m, "image_scale", np.float32(0)), "scale 0, allowed: finite and at least"),
        (lambda m: _replace(m, "image_scale", np.float32(1e-42)), "scale 1.00053e-42, allowed"),
        (lambda m: _replace(m, "image_scale", np.float32("nan")), "scale nan, allowed"),
        (lambda m: _replace(m, "image_scale", np.ones(3, np.float32)), "3 scales"),
        (lambda m: _initializer(m, "_quantized").dims.append(2), "damaged"),
        (lambda m: _initializer(m, "_quantized").dims.append(-1), "the file is damaged"),
    ],
)
def test_what_cannot_be_taken_is_named(change: Callable[[Any], None], words: str) -> None:
    assert words in _refused(_changed(change))


def _joined(b: Builder, x: str) -> str:
    return b.node("Add", x, b.node("Flatten", b.node("GlobalAveragePool", x)))


def _deeper_constant(b: Builder, x: str) -> str:
    flat = b.node("Flatten", b.node("GlobalAveragePool", x))
    return b.node("Mul", flat, b.stored(np.ones((1, 4, 1, 1), np.float32)))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (_joined, "inputs [[1, 4, 4, 4], [1, 4]], supported: of equally many dimensions"),
        (_deeper_constant, "of shape [1, 4, 1, 1], supported: one value, or one per channel"),
        (lambda b, x: b.node("Pow", x, b.conv(x, 4, 4)), "of two computed tensors, supported: a computed"),
        (lambda b, x: b.node("Softmax", x, axis=2), "over axis 2, supported: 1 and the last one"),
    ],
)
def test_what_means_something_else_channels_first_is_refused(
    build: Callable[[Builder, str], str], words: str
) -> None:
    b = Builder(1)
    x = b.conv(b.input(1, 2, 4, 4), 2, 4)
    assert words in _refused(quantized(b.finish(build(b, x))))


def _saved_outside(tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    onnx.save(
        onnx.ModelProto.FromString(_small()),
        path,
        save_as_external_data=True,
        location="net.data",
        size_threshold=0,
    )
    return path


def test_weights_beside_the_model_are_read(tmp_path: Path) -> None:
    graph = load_graph(_saved_outside(tmp_path)).graph
    inside = tmp_path / "inside.onnx"
    inside.write_bytes(_small())
    for found, wanted in zip(graph.nodes, load_graph(inside).graph.nodes, strict=True):
        if hasattr(found.op, "weights"):
            assert np.array_equal(found.op.weights, wanted.op.weights)


def test_missing_external_weights_are_named(tmp_path: Path) -> None:
    path = _saved_outside(tmp_path)
    (tmp_path / "net.data").unlink()
    with pytest.raises(ModelError, match=r"its values are in '.*net.data', which is missing"):
        load_graph(path)


def test_short_external_weights_are_named(tmp_path: Path) -> None:
    path = _saved_outside(tmp_path)
    (tmp_path / "net.data").write_bytes(b"12")
    with pytest.raises(ModelError, match="which has 2, allowed"):
        load_graph(path)


@pytest.mark.parametrize("location", ["/etc/passwd", "../net.data", ""])
def test_external_weights_stay_in_the_models_folder(location: str, tmp_path: Path) -> None:
    def change(model: Any) -> None:
        tensor = _initializer(model, "_quantized")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    path = tmp_path / "net.onnx"
    path.write_bytes(_changed(change).SerializeToString())
    with pytest.raises(ModelError, match="allowed: a file in the model's own folder"):
        load_graph(path)


@pytest.mark.parametrize("data", [b"", b"\x00" * 100, b"\xff" * 40, b"PK\x03\x04" + b"\x00" * 60])
def test_what_is_no_model_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelError, match="is no ONNX file"):
        load_graph(path)


def test_a_file_of_500_mb_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    with path.open("wb") as file:
        file.truncate(500_000_000)
    with pytest.raises(ModelError, match=f"500,000,000 bytes, allowed: {MAX_FILE_BYTES:,}"):
        load_graph(path)
