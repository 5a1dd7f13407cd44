"""Table from TFLite operators to integer operators; one short function each.

The first lines of a function's docstring say what is supported: docs/operators.md is made of them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.arithmetic import added, multiplied, subtracted
from rnnpool_mcu.frontends.quantized_layers import MAX_SPAN, Filter, quantization_of, same_padding
from rnnpool_mcu.frontends.tflite.call import (
    ALL,
    Call,
    Converter,
    check_same_quantization,
    real_constant,
)
from rnnpool_mcu.frontends.tflite.forms.dilation import EXPLICIT
from rnnpool_mcu.frontends.tflite.operators.lstm import convert_lstm
from rnnpool_mcu.frontends.tflite.operators.movers import MOVERS
from rnnpool_mcu.frontends.tflite.operators.tables import TABLES
from rnnpool_mcu.frontends.tflite.shapes import aligned_shape
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ops.arg_max import ArgMax
from rnnpool_mcu.ops.average_pool import GlobalAveragePool
from rnnpool_mcu.ops.average_pool2d import AveragePool2d
from rnnpool_mcu.ops.concat import Concat
from rnnpool_mcu.ops.conv2d import Conv2d
from rnnpool_mcu.ops.convolution import Padding, Window
from rnnpool_mcu.ops.depthwise_conv2d import DepthwiseConv2d
from rnnpool_mcu.ops.l2_norm import L2Norm
from rnnpool_mcu.ops.log_softmax import LogSoftmax
from rnnpool_mcu.ops.max_pool import MaxPool2d
from rnnpool_mcu.ops.prelu import PRelu
from rnnpool_mcu.ops.prelu_map import PReluMap
from rnnpool_mcu.ops.softmax import Softmax
from rnnpool_mcu.ops.squared_difference import SquaredDifference
from rnnpool_mcu.ops.transposed_conv2d import TransposedConv2d
from rnnpool_mcu.ops.where import Where

_SAME, _VALID = 0, 1
BIAS_TOLERANCE = 0.02
"""Of a bias's scale against input scale x weight scale, in output steps: as the interpreter allows."""


def filter_of(call: Call, axis: int, weights_at: int = 1, bias_at: int = 2) -> Filter:
    """Weights and bias of a layer; ModelError unless weights are symmetric int8, the bias int32 to match."""
    tensor = call.constant(weights_at)
    stored, data = tensor.quantization, tensor.data
    if tensor.dtype != "INT8" or stored is None or data is None:
        raise ModelError(f"weights '{tensor.name}' are {tensor.dtype}, supported: quantized INT8")
    if data.ndim <= axis or data.size == 0:
        raise ModelError(f"weights '{tensor.name}' of shape {list(data.shape)}; the file is damaged")
    channels = data.shape[axis]
    if stored.scales.size not in (1, channels) or (stored.scales.size > 1 and stored.axis != axis):
        raise ModelError(
            f"weights '{tensor.name}': {stored.scales.size} scales on axis {stored.axis}, "
            f"allowed: 1, or {channels} on axis {axis}"
        )
    if stored.zero_points.any():
        raise ModelError(f"weights '{tensor.name}': zero point other than 0, supported: symmetric weights")
    for scale in stored.scales:
        quantization_of(float(scale), 0)
    scales = np.broadcast_to(stored.scales, (channels,)).astype(np.float64)
    return Filter(data.astype(np.int8), _bias(call, bias_at, scales), scales)


def _bias(call: Call, position: int, scales: NDArray[np.float64]) -> NDArray[np.int32]:
    """int32 biases at input scale x weight scale; zeros where the layer has none."""
    tensor = call.optional(position)
    if tensor is None:
        return np.zeros(scales.size, np.int32)
    data, stored = tensor.data, tensor.quantization
    if tensor.dtype != "INT32" or data is None or data.size != scales.size:
        raise ModelError(
            f"bias '{tensor.name}': {tensor.dtype} of shape {list(tensor.shape)}, "
            f"supported: INT32, {scales.size} values"
        )
    if stored is not None and data.any():  # zeros are zeros at any scale
        wanted = call.inputs[0].scale * scales
        if (
            stored.scales.size not in (1, scales.size)
            or (np.abs(stored.scales - wanted) / call.output.scale > BIAS_TOLERANCE).any()
        ):
            raise ModelError(
                f"bias '{tensor.name}': scale is not input scale x weight scale; export it again"
            )
    return data.reshape(-1).astype(np.int32)


def window_of(call: Call, kernel: tuple[int, int], dilation: tuple[int, int] = (1, 1)) -> Window:
    """Kernel, stride and padding of a convolution or pooling of the first input."""
    stride = int(call.option("StrideH")), int(call.option("StrideW"))
    if min(*stride, *kernel, *dilation) < 1:
        raise ModelError(f"kernel {kernel}, stride {stride}, dilation {dilation}, allowed: 1 and more")
    spans = [(taps - 1) * apart + 1 for taps, apart in zip(kernel, dilation, strict=True)]
    if max(spans) > MAX_SPAN:
        raise ModelError(f"window of {spans[0]}x{spans[1]}, allowed: at most {MAX_SPAN} rows and columns")
    image, padding = call.inputs[0], int(call.option("Padding"))
    if EXPLICIT[0] in call.op.options:
        sides = Padding(*(int(call.option(side)) for side in EXPLICIT))
    elif padding == _VALID:
        sides = Padding()
    elif padding == _SAME:
        top, bottom = same_padding(image.height, (kernel[0] - 1) * dilation[0] + 1, stride[0])
        left, right = same_padding(image.width, (kernel[1] - 1) * dilation[1] + 1, stride[1])
        sides = Padding(top, left, bottom, right)
    else:
        raise ModelError(f"padding {padding}, supported: SAME, VALID")
    return Window(kernel, stride, sides)


def _dilation(call: Call) -> tuple[int, int]:
    return int(call.option("DilationHFactor")), int(call.option("DilationWFactor"))


def convert_conv_2d(call: Call) -> Operator:
    """Any kernel, stride, dilation and groups; SAME or VALID; scales per channel or tensor; relu, relu6,
    relu -1..1 fused.
    """
    filter_, dilation = filter_of(call, axis=0), _dilation(call)
    weights, channels = filter_.weights, call.inputs[0].channels
    if weights.ndim != 4 or channels % weights.shape[3]:
        raise ModelError(f"weights of shape {weights.shape} for {channels} channels; the file is damaged")
    window = window_of(call, (weights.shape[1], weights.shape[2]), dilation)
    rest = (filter_.bias, filter_.scales, window, call.output, call.clamp)
    return Conv2d(weights, *rest, dilation, channels // weights.shape[3])


def convert_depthwise_conv_2d(call: Call) -> Operator:
    """Any kernel, stride, dilation and depth multiplier; SAME or VALID; scales per channel or tensor; relu,
    relu6, relu -1..1 fused.
    """
    filter_, dilation = filter_of(call, axis=3), _dilation(call)
    channels = call.inputs[0].channels
    shape = filter_.weights.shape
    if len(shape) != 4 or shape[0] != 1 or shape[3] % channels:
        raise ModelError(f"weights of shape {shape} for {channels} channels; the file is damaged")
    window = window_of(call, (shape[1], shape[2]), dilation)
    rest = (filter_.bias, filter_.scales, window, call.output, call.clamp)
    return DepthwiseConv2d(filter_.weights[0], *rest, dilation, shape[3] // channels)


def convert_add(call: Call) -> Operator:
    """Two computed tensors, sides of 1 repeated, or one and a stored one of any sides that fit; relu, relu6,
    relu -1..1 fused.
    """
    return added(call, real_constant)


def convert_sub(call: Call) -> Operator:
    """Two computed tensors, sides of 1 repeated, or one and a stored one on either side; relu,
    relu6, relu -1..1 fused.
    """
    return subtracted(call, real_constant)


def convert_squared_difference(call: Call) -> Operator:
    """Two computed tensors, or one and a stored one, sides of 1 repeated."""
    return SquaredDifference(call.output)


def convert_mul(call: Call) -> Operator:
    """Two computed tensors, sides of 1 repeated, or one and a stored one of any sides that fit; relu, relu6,
    relu -1..1 fused.
    """
    return multiplied(call, real_constant)


def convert_average_pool_2d(call: Call) -> Operator:
    """Any window and stride, SAME or VALID; relu, relu6, relu -1..1 fused."""
    image, window = call.inputs[0], _pool_window(call)
    whole = window.kernel == (image.height, image.width) and window.padding == Padding()
    if whole and call.clamp == (-128, 127):
        return GlobalAveragePool(call.output)
    return AveragePool2d(window, call.output, clamp=call.clamp)


def _pool_window(call: Call) -> Window:
    return window_of(call, (int(call.option("FilterHeight")), int(call.option("FilterWidth"))))


def convert_max_pool_2d(call: Call) -> Operator:
    """Any window and stride, SAME or VALID; relu, relu6, relu -1..1 fused; quantization unchanged."""
    check_same_quantization(call)
    return MaxPool2d(_pool_window(call), call.clamp)


def convert_softmax(call: Call) -> Operator:
    """Over the channels; beta > 0."""
    return Softmax(call.output, float(call.option("Beta")))


def convert_select(call: Call) -> Operator:
    """A stored condition; two computed tensors, or one and a stored one, sides of 1 repeated."""
    condition, given = call.constant(0), call.model.tensors[call.op.inputs[1]]
    if condition.dtype != "BOOL" or condition.data is None:
        raise ModelError(f"condition '{condition.name}' is {condition.dtype}, allowed: BOOL")
    if call.op.kind == "SELECT" and condition.shape != given.shape and condition.data.size != 1:
        raise ModelError(f"condition of {list(condition.shape)} for {list(given.shape)}, supported: the same")
    return Where(call.output, condition.data.astype(np.int8).reshape(aligned_shape(condition)))


def convert_log_softmax(call: Call) -> Operator:
    """Over the channels."""
    return LogSoftmax(call.output)


def convert_concatenation(call: Call) -> Operator:
    """Computed or stored tensors along height, width or channels, each with its own quantization."""
    if int(call.option("FusedActivationFunction")) != 0:
        raise ModelError("fused activation, supported: none; make it a layer of its own")
    shape = call.model.tensors[call.op.outputs[0]].shape
    rank = len(shape)
    axis = int(call.option("Axis")) % max(rank, 1)
    place = axis - rank + 3
    if place < 0 or (place == 0 and rank > 4 and max(shape[:axis]) > 1):  # these are rows of rows
        raise ModelError(
            f"along axis {axis} of {list(shape)}, supported: the last three but the batch, of more than four "
            "dimensions the last two; reshape before"
        )
    return Concat(call.output, place)


def convert_transpose_conv(call: Call) -> Operator:
    """Any stride; SAME or VALID; scales per channel or tensor; relu, relu6, relu -1..1 fused."""
    filter_, image = filter_of(call, axis=0, bias_at=3), call.inputs[0]
    weights, size = filter_.weights, call.integers(0)
    if weights.ndim != 4 or len(size) != 4:
        raise ModelError(f"weights of {weights.ndim} dimensions, output of {len(size)}, allowed: 4")
    stride = (int(call.option("StrideH")), int(call.option("StrideW")))
    padding = int(call.option("Padding"))
    if padding not in (_SAME, _VALID):
        raise ModelError(f"padding {padding}, supported: SAME, VALID")
    spans = [
        (given - 1) * step + k for given, step, k in zip(image.shape, stride, weights.shape[1:], strict=False)
    ]
    cut = [max(0, span - wanted) // 2 for span, wanted in zip(spans, size[1:], strict=False)]
    origin = (cut[0], cut[1]) if padding == _SAME else (0, 0)
    rest = (filter_.bias, filter_.scales, stride, origin, (size[1], size[2]))
    return TransposedConv2d(weights, *rest, call.output, call.clamp)


def convert_prelu(call: Call) -> Operator:
    """Slopes stored in the file or computed: one in all, per channel, or of any sides that fit the input."""
    if len(call.inputs) == 2:
        return PReluMap(call.output)
    _, slopes = real_constant(call)
    return PRelu(np.broadcast_to(slopes, (call.inputs[0].channels,)).astype(np.float64), call.output)


def convert_arg_max(call: Call) -> Operator:
    """Over at most 256 channels, at an output of the model; the C gives an int8, less 128 if there are more
    than 128 channels.
    """
    axes, rank = call.integers(1), call.rank(0)
    if rank == 0 or [axis % rank for axis in axes] != [rank - 1]:
        raise ModelError(f"over axis {axes} of {rank}, supported: the last one, the channels")
    if any(call.op.outputs[0] in op.inputs for op in call.model.operators):
        raise ModelError("its index is read by a layer, supported: an index as the model's output")
    return ArgMax(smallest=call.op.kind == "ARG_MIN")


def convert_l2_normalization(call: Call) -> Operator:
    """Over the channels of each pixel; no fused activation."""
    if call.op.options.get("FusedActivationFunction", 0) != 0:
        raise ModelError("fused activation, supported: none; make it a layer of its own")
    return L2Norm.of(np.ones(call.inputs[0].channels), call.output)


CONVERTERS: Mapping[str, Converter] = {
    "ADD": Converter((0, 1), convert_add, constants=True, broadcast=True, maps=True),
    "ARG_MAX": Converter((0,), convert_arg_max, reshapes=True),
    "ARG_MIN": Converter((0,), convert_arg_max, reshapes=True),
    "AVERAGE_POOL_2D": Converter((0,), convert_average_pool_2d),
    "CONCATENATION": Converter(ALL, convert_concatenation, maps=True),
    "CONV_2D": Converter((0,), convert_conv_2d),
    "DEPTHWISE_CONV_2D": Converter((0,), convert_depthwise_conv_2d),
    "L2_NORMALIZATION": Converter((0,), convert_l2_normalization),
    "MAX_POOL_2D": Converter((0,), convert_max_pool_2d),
    "MUL": Converter((0, 1), convert_mul, constants=True, maps=True),
    "PRELU": Converter((0, 1), convert_prelu, constants=True, maps=True),
    "LOG_SOFTMAX": Converter((0,), convert_log_softmax),
    "SELECT": Converter((1, 2), convert_select, maps=True),
    "SELECT_V2": Converter((1, 2), convert_select, maps=True),
    "SOFTMAX": Converter((0,), convert_softmax),
    "SQUARED_DIFFERENCE": Converter((0, 1), convert_squared_difference, maps=True),
    "SUB": Converter((0, 1), convert_sub, constants=True, broadcast=True, maps=True),
    "TRANSPOSE_CONV": Converter((2,), convert_transpose_conv),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": Converter((0,), convert_lstm),
    **MOVERS,
    **TABLES,
}
"""Converter of each operator that computes; views and edges are in tflite.py."""
