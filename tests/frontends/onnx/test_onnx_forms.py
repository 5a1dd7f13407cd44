"""Older and freer forms of a model come to the same integer graph, or to what their own runtime computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.onnx.front import convert_onnx
from rnnpool_mcu.frontends.onnx.reader import parse_onnx
from rnnpool_mcu.importing import source_runtime
from rnnpool_mcu.ir.evaluate import evaluate_graph
from rnnpool_mcu.ir.graph import Graph
from tests.onnx_models import Builder, _Images, quantized, small_network


def _graph(model: Any, sides: tuple[int, ...] | None = None) -> Graph:
    data = model if isinstance(model, bytes) else model.SerializeToString()
    return convert_onnx(parse_onnx(data, "net.onnx", sides=sides)).graph


def _image(graph: Graph) -> NDArray[np.int8]:
    return np.random.default_rng(1).integers(-128, 128, graph.input_type.shape).astype(np.int8)


def _same(ours: Graph, wanted: Graph) -> None:
    """Both give the same bytes."""
    image = _image(wanted)
    for a, b in zip(ours.outputs, wanted.outputs, strict=True):
        found = evaluate_graph(ours, image)[a]
        assert len(np.unique(found)) > 2 and np.array_equal(found, evaluate_graph(wanted, image)[b])


def _within_a_step(path: Path) -> None:
    imported, runtime = source_runtime(path)
    image = _image(imported.graph)
    ours, theirs = evaluate_graph(imported.graph, image), runtime.values(image)
    for name in imported.graph.outputs:
        assert len(np.unique(theirs[name])) > 2
        assert np.abs(ours[name].astype(int) - theirs[name]).max() <= 1


def _small() -> Any:
    return onnx.ModelProto.FromString(quantized(small_network()))


def test_an_old_opset_is_converted() -> None:
    """Per tensor, as opset 10 has it; the operators of the network are the same in both."""
    model = small_network()
    data = quantized(model)
    old = onnx.ModelProto.FromString(data)
    for node in old.graph.node:
        if node.op_type == "DequantizeLinear":
            assert all(a.name == "axis" for a in node.attribute)
    old.opset_import[0].version = 12
    _same(_graph(old), _graph(data))


def test_a_softmax_of_an_old_opset_over_the_last_axis_is_a_plain_one() -> None:
    b = Builder(2, opset=11)
    x = b.node("Transpose", b.conv(b.input(1, 3, 5, 4), 3, 6), perm=[0, 2, 3, 1])
    x = b.node("Reshape", x, b.stored(np.array([1, 20, 6])))
    data = quantized(b.finish(b.node("Softmax", x, axis=2)), extra_types=("all",))
    assert [type(node.op).__name__ for node in _graph(data).nodes][-1] == "Softmax"


def test_inputs_that_are_stored_are_stored_only() -> None:
    """As files of IR 3 list every weight."""
    model = _small()
    for tensor in model.graph.initializer:
        value = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        model.graph.input.append(value)
    _same(_graph(model), _graph(_small()))


def test_functions_of_the_model_are_put_in_their_place() -> None:
    model = _small()
    pool = next(node for node in model.graph.node if node.op_type == "MaxPool")
    body = helper.make_node("MaxPool", ["a"], ["b"])
    body.attribute.extend(pool.attribute)
    opsets = [helper.make_opsetid("", model.opset_import[0].version)]
    model.functions.append(helper.make_function("own", "Pool", ["a"], ["b"], [body], opsets))
    model.opset_import.append(helper.make_opsetid("own", 1))
    del pool.attribute[:]
    pool.op_type, pool.domain = "Pool", "own"
    _same(_graph(model), _graph(_small()))


def _open(*sides: str | int) -> Any:
    model = _small()
    value = model.graph.input[0]
    value.CopyFrom(helper.make_tensor_value_info(value.name, TensorProto.FLOAT, sides))
    return model


def test_open_sides_are_those_asked_for() -> None:
    _same(_graph(_open("n", 3, "height", "width"), (1, 3, 12, 10)), _graph(_small()))
    with pytest.raises(ModelError, match=r"is \[1, 3, -1, -1\]; give --input-shape 1,3,H,W"):
        _graph(_open("n", 3, "height", "width"))
    with pytest.raises(
        ModelError, match=r"--input-shape 1,4,12,10: input 'image' is .*, allowed: sides where"
    ):
        _graph(_open("n", 3, "height", "width"), (1, 4, 12, 10))


@pytest.mark.parametrize("weights", ["per_channel", "per_tensor"])
def test_operators_of_integers_are_those_of_qdq(weights: str, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    images = np.random.default_rng(5).uniform(0, 1, (6, 3, 12, 10)).astype(np.float32)
    b = Builder(0)
    x = b.relu(b.conv(b.input(1, 3, 12, 10), 3, 8, strides=[2, 2]))
    x = b.node("Concat", b.node("Add", x, b.conv(x, 8, 8, 1)), b.node("Sigmoid", x), axis=1)
    x = b.node("LeakyRelu", b.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]), alpha=0.1)
    x = b.node("Softmax", b.gemm(b.node("Flatten", b.node("GlobalAveragePool", x)), 16, 6), axis=-1)
    quantize_static(
        b.finish(x),
        path,
        _Images({"image": images}),
        quant_format=QuantFormat.QOperator,
        per_channel=weights == "per_channel",
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    kinds = {node.op_type for node in onnx.load(path).graph.node}
    assert {"QLinearConv", "QLinearConcat", "QLinearAdd", "QGemm"} <= kinds
    _within_a_step(path)


def test_weights_with_a_zero_point_are_centred() -> None:
    """uint8 around 120: less it they are int8 again."""
    model, wanted = _small(), _graph(_small())
    for tensor in list(model.graph.initializer):
        array = numpy_helper.to_array(tensor)
        if tensor.name.endswith("_quantized") and array.ndim > 1 and array.dtype == np.int8:
            shifted = (array.astype(int) + 128).astype(np.uint8)
            tensor.CopyFrom(numpy_helper.from_array(shifted, tensor.name))
            zero = next(t for t in model.graph.initializer if t.name == tensor.name[:-9] + "zero_point")
            zeros = np.full(numpy_helper.to_array(zero).shape, 128, np.uint8)
            zero.CopyFrom(numpy_helper.from_array(zeros, zero.name))
    _same(_graph(model), wanted)


def _narrow(model: Any) -> None:
    """The Clip that Brevitas writes between QuantizeLinear and DequantizeLinear of what a layer gives."""
    edge = [node for node in model.graph.node if node.op_type == "QuantizeLinear"][-1]
    low, high = np.array(-110, np.int8), np.array(60, np.int8)
    for name, value in (("low", low), ("high", high)):
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    (wide,) = edge.output
    for node in model.graph.node:
        for at, name in enumerate(node.input):
            if name == wide:
                node.input[at] = "narrow"
    place = list(model.graph.node).index(edge) + 1
    model.graph.node.insert(place, helper.make_node("Clip", [wide, "low", "high"], ["narrow"]))


def test_a_narrow_range_is_a_limit(tmp_path: Path) -> None:
    model, path = _small(), tmp_path / "net.onnx"
    _narrow(model)
    onnx.save(model, path)
    _within_a_step(path)
    found = evaluate_graph(_graph(model), _image(_graph(model)))
    assert max(found[name].max() for name in _graph(model).outputs) <= 60


def test_quant_nodes_are_qdq() -> None:
    """QONNX's Quant on a picture, on weights per channel, on a bias of 32 bits, and on four bits of a sum."""
    random = np.random.default_rng(0)
    weights = random.normal(0, 0.3, (4, 3, 3, 3)).astype(np.float32)
    scales = (np.abs(weights).max((1, 2, 3), keepdims=True) / 127).astype(np.float32)
    stored = {
        "w": weights, "ws": scales, "b": random.normal(0, 1, 4).astype(np.float32),
        "xs": np.array(1 / 255, np.float32), "zx": np.array(0, np.float32), "z": np.array(0, np.float32),
        "eight": np.array(8, np.float32), "four": np.array(4, np.float32), "many": np.array(32, np.float32),
        "bs": (scales.reshape(-1) / 255), "ys": np.array(0.4, np.float32),
    }  # fmt: skip

    def quant(given: str, scale: str, bits: str, made: str, signed: int, narrow: int) -> Any:
        told = {"signed": signed, "narrow": narrow, "rounding_mode": "ROUND"}
        inputs = [given, scale, "z", bits]
        return helper.make_node("Quant", inputs, [made], domain="qonnx.custom_op.general", **told)

    nodes = [
        quant("image", "xs", "eight", "x", 0, 0),
        quant("w", "ws", "eight", "wq", 1, 1),
        quant("b", "bs", "many", "bq", 1, 0),
        helper.make_node("Conv", ["x", "wq", "bq"], ["y"], kernel_shape=[3, 3]),
        quant("y", "ys", "four", "out", 1, 1),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 3, 6, 5))],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in stored.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("qonnx.custom_op.general", 1)]
    ours = _graph(helper.make_model(graph, opset_imports=opsets, ir_version=8))
    image = _image(ours)
    real = (image.astype(np.float64) + 128) / 255
    steps = np.clip(np.rint(weights / scales), -127, 127) * scales
    bias = np.rint(stored["b"] / stored["bs"]) * stored["bs"]
    wanted = np.zeros((4, 3, 4))
    for y in range(4):
        for x in range(3):
            patch = real[y : y + 3, x : x + 3].transpose(2, 0, 1)
            wanted[y, x] = (steps * patch).sum((1, 2, 3)) + bias
    wanted = np.clip(np.rint(wanted / 0.4), -7, 7)
    found = evaluate_graph(ours, image)[ours.outputs[0]]
    assert np.abs(found - wanted).max() <= 1 and len(np.unique(found)) > 5 and np.abs(found).max() <= 7
