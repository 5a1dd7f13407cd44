"""Files of the older quantization, casts and float ends, against the interpreter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tflite")
pytest.importorskip("ai_edge_litert")

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.tflite.front import convert_tflite
from rnnpool_mcu.frontends.tflite.reader import parse_tflite
from rnnpool_mcu.importing import load_graph
from rnnpool_mcu.ir.evaluate import evaluate_graph
from rnnpool_mcu.ops.conv2d import Conv2d
from rnnpool_mcu.ops.depthwise_conv2d import DepthwiseConv2d
from rnnpool_mcu.ops.fully_connected import FullyConnected
from tests.frontends.tflite.test_tflite_shapes import compared, reduced
from tests.tflite_writer import NONE, RELU6, Tensor, Writer


def as_uint8(w: Writer, weights_zero_point: int) -> None:
    """Every int8 tensor as an older converter wrote it; weights per tensor, all of 0..255 in use."""
    random = np.random.default_rng(8)
    for index, tensor in enumerate(w.tensors):
        if tensor.dtype != "int8":
            continue
        if tensor.data is None or tensor.data.ndim < 2:
            data = None if tensor.data is None else (tensor.data.astype(np.int16) + 128).astype(np.uint8)
            zeros = [zero + 128 for zero in tensor.zero_points]
            w.tensors[index] = replace(tensor, dtype="uint8", data=data, zero_points=zeros)
            continue
        real = random.normal(weights_zero_point, 45, tensor.data.shape)
        data = np.clip(np.rint(real), 0, 255).astype(np.uint8)
        data.flat[0], data.flat[-1] = 0, 255
        w.tensors[index] = replace(
            tensor, dtype="uint8", data=data, scales=tensor.scales[:1], zero_points=[weights_zero_point]
        )
    biases = [t for t in w.tensors if t.dtype == "int32" and t.scales]
    for tensor in biases:
        tensor.scales, tensor.zero_points = tensor.scales[:1], [0]
    for op in w.operators:  # the bias's scale is input scale x weight scale
        if op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            x, weights, bias = (w.tensors[i] for i in op.inputs)
            bias.scales = [x.scales[0] * weights.scales[0]]


def network(w: Writer) -> int:
    """MobileNet's operators, older detectors' as well."""
    x = w.conv(w.input(12, 12, 3), 8, 3, 2, activation=RELU6)
    x = w.depthwise(x, 3, activation=RELU6)
    x = w.join("ADD", x, w.conv(x, 8, 1, activation=NONE))
    x = w.depthwise(x, 3, 2, multiplier=2)
    x = w.concat([w.resize("RESIZE_BILINEAR", x, 6, 6, half=False), w.pad(x, (1, 2), (2, 1))])
    x = w.pool("AVERAGE_POOL_2D", w.pool("MAX_POOL_2D", x, 2, 2), 3)
    return w.softmax(w.dense(x, 5))


@pytest.mark.parametrize("zero_point", [128, 100, 151, 3])
def test_uint8_networks_follow_the_interpreter(zero_point: int, tmp_path: Path) -> None:
    """At 128 weights fit int8; else some meet their inputs twice."""
    w = Writer(6)
    y = network(w)
    as_uint8(w, zero_point)
    found = compared(tmp_path / "model.tflite", w.finish(y))
    assert found.agrees, {layer.layer: dict(layer.alone) for layer in found.layers}
    operators = {layer.operator for layer in found.layers}
    assert {"Conv2d", "Add", "Softmax", "FullyConnected"} <= operators
    assert sum(found.outputs.values()) == 4 * 5


LAYERS: dict[str, Callable[[Writer, int], int]] = {
    "conv": lambda w, x: w.conv(x, 5, 3, 2),
    "depthwise": lambda w, x: w.depthwise(x, 3),
    "depthwise_multiplier": lambda w, x: w.depthwise(x, 3, multiplier=3),
    "dense_on_a_map": lambda w, x: w.dense(x, 7),
    "dense": lambda w, x: w.dense(reduced(w, x, "MEAN", [1, 2]), 7),
}


@pytest.mark.parametrize("zero_point", [0, -27, 40, -128])
@pytest.mark.parametrize("name", LAYERS)
def test_weights_with_a_zero_point_are_exact(name: str, zero_point: int) -> None:
    """Against the layer's definition with 16-bit weights: the interpreter takes int8 weights at 0 only."""
    w = Writer(6)
    y = LAYERS[name](w, w.input(7, 6, 4))
    plain = convert_tflite(parse_tflite(w.finish(y), "a file")).graph
    weights = next(t for t in w.tensors if t.name.startswith("weights"))
    weights.zero_points = [zero_point] * len(weights.scales)
    moved = convert_tflite(parse_tflite(w.finish(y), "a file")).graph
    pixels = np.random.default_rng(0).integers(-128, 128, (7, 6, 4), dtype=np.int8)
    last = plain.nodes[-1]
    assert isinstance(last.op, Conv2d | DepthwiseConv2d | FullyConnected)
    centred = (last.op.weights.astype(np.int16) - zero_point).astype(np.int16)
    pixels = pixels.reshape(plain.input_type.shape)
    before = {plain.input_name: pixels, **evaluate_graph(plain, pixels)}[last.inputs[0]]
    wide = replace(last.op, weights=centred)  # type: ignore[arg-type]
    wanted = wide.eval_int8(plain.input_types(last), (before,))
    found = evaluate_graph(moved, pixels.reshape(moved.input_type.shape))[moved.outputs[0]]
    assert found.tolist() == wanted.tolist() and np.ptp(wanted.astype(int)) > 10
    assert (len(moved.nodes) == len(plain.nodes)) == bool(np.abs(centred).max() <= 127)


def test_weights_that_meet_nothing_twice_are_refused() -> None:
    w = Writer(6)
    y = w.transposed(w.input(7, 6, 4), 5)
    weights = next(t for t in w.tensors if t.name.startswith("weights"))
    weights.zero_points = [90] * len(weights.scales)
    with pytest.raises(ModelError, match=r"TRANSPOSE_CONV, operator 0 .* zero point other than 0"):
        convert_tflite(parse_tflite(w.finish(y), "a file"))


@pytest.mark.parametrize(("dtype", "scale", "zero_point"), [("uint8", 1.0, -128), ("uint8", 2.0, -100)])
def test_a_cast_at_the_input_is_left_out(dtype: str, scale: float, zero_point: int, tmp_path: Path) -> None:
    w = Writer(2)
    w.inputs.append(w.add(Tensor("bytes", (1, 6, 6, 3), dtype)))
    real = w.operator("CAST", [0], [w.add(Tensor("real", (1, 6, 6, 3), "float32"))], "CastOptions")
    quantized = w.add(Tensor("quantized", (1, 6, 6, 3), "int8", [scale], [zero_point], rms=70 * scale))
    data = w.finish(w.conv(w.operator("QUANTIZE", [real], [quantized]), 4))
    found = compared(tmp_path / "model.tflite", data)
    assert found.agrees and sum(found.outputs.values()) > 0
    graph = load_graph(tmp_path / "model.tflite").graph
    assert (graph.input_type.scale, graph.input_type.zero_point) == (1.0, -128)
    assert len(graph.nodes) == (1 if (scale, zero_point) == (1.0, -128) else 2)


@pytest.mark.parametrize("kind", ["SOFTMAX", "LOG_SOFTMAX", "LOGISTIC", "TANH"])
def test_a_float_function_at_the_end_gives_int8(kind: str, tmp_path: Path) -> None:
    """DEQUANTIZE, RESHAPE and the function in float: the C gives the function's own int8."""
    w = Writer(2)
    x = w.dense(w.conv(w.input(6, 6, 3), 4), 7)
    real = w.operator("DEQUANTIZE", [x], [w.add(Tensor("real", (1, 7), "float32"))])
    shape = w.constant("shape", np.array([1, 1, 7], np.int32))
    viewed = w.add(Tensor("viewed", (1, 1, 7), "float32"))
    real = w.operator("RESHAPE", [real, shape], [viewed], "ReshapeOptions")
    options = {"SOFTMAX": "SoftmaxOptions", "LOG_SOFTMAX": "LogSoftmaxOptions"}.get(kind)
    more = {"Beta": 1.0} if kind == "SOFTMAX" else {}
    end = w.operator(kind, [real], [w.add(Tensor("end", (1, 1, 7), "float32"))], options, **more)
    found = compared(tmp_path / "model.tflite", w.finish(end))
    assert found.agrees and sum(found.outputs.values()) == 4 * 7


def test_a_float_function_elsewhere_is_refused() -> None:
    w = Writer(2)
    x = w.dense(w.conv(w.input(6, 6, 3), 4), 7)
    real = w.operator("DEQUANTIZE", [x], [w.add(Tensor("real", (1, 7), "float32"))])
    end = w.operator("TANH", [real], [w.add(Tensor("end", (1, 7), "float32"))])
    again = w.operator("TANH", [end], [w.add(Tensor("again", (1, 7), "float32"))])
    with pytest.raises(ModelError, match="output 'again' is float and not quantized"):
        convert_tflite(parse_tflite(w.finish(again), "a file"))


@pytest.mark.parametrize("kind", ["RESHAPE", "TRANSPOSE"])
def test_a_view_of_the_float_input_is_no_difference(kind: str, tmp_path: Path) -> None:
    w = Writer(2)
    w.inputs.append(w.add(Tensor("real", (1, 6, 8, 3), "float32")))
    order = w.constant("order", np.array([1, 8, 6, 3] if kind == "RESHAPE" else [0, 2, 1, 3], np.int32))
    viewed = w.operator(kind, [0, order], [w.add(Tensor("viewed", (1, 8, 6, 3), "float32"))])
    quantized = w.add(Tensor("quantized", (1, 8, 6, 3), "int8", [1 / 128], [-1], rms=0.5))
    data = w.finish(w.conv(w.operator("QUANTIZE", [viewed], [quantized]), 4))
    found = compared(tmp_path / "model.tflite", data)
    assert found.agrees and sum(found.outputs.values()) > 0


def _axis_3(bias: Tensor) -> None:
    bias.axis = 3


def _zeros_at_any_scale(bias: Tensor) -> None:
    assert bias.data is not None
    bias.data[:] = 0
    bias.scales = [7.0] * bias.data.size


def _no_scale(bias: Tensor) -> None:
    bias.scales, bias.zero_points = [], []


@pytest.mark.parametrize("change", [_axis_3, _zeros_at_any_scale, _no_scale])
def test_details_of_a_bias_that_mean_nothing_are_no_matter(
    change: Callable[[Tensor], None], tmp_path: Path
) -> None:
    w = Writer(2)
    y = w.depthwise(w.input(6, 6, 3))
    change(next(t for t in w.tensors if t.name.startswith("bias")))
    found = compared(tmp_path / "model.tflite", w.finish(y))
    assert found.agrees and sum(found.outputs.values()) > 0
