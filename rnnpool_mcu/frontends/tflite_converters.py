"""Table from TFLite operators to integer operators; one short function each.

The first lines of a function's docstring say what is supported: docs/operators.md is made of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.quantized_layers import (
    clamp_of,
    quantization_of,
    same_padding,
    scaled_by_constant,
)
from rnnpool_mcu.frontends.tflite_reader import StoredModel, StoredOperator, StoredTensor
from rnnpool_mcu.ir.operator import Int8Array, Operator
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops import lookup
from rnnpool_mcu.ops.add import Add
from rnnpool_mcu.ops.average_pool import GlobalAveragePool
from rnnpool_mcu.ops.average_pool2d import AveragePool2d
from rnnpool_mcu.ops.concat import Concat
from rnnpool_mcu.ops.conv2d import Conv2d
from rnnpool_mcu.ops.convolution import Padding, Window
from rnnpool_mcu.ops.depthwise_conv2d import DepthwiseConv2d
from rnnpool_mcu.ops.fully_connected import FullyConnected
from rnnpool_mcu.ops.max_pool import MaxPool2d
from rnnpool_mcu.ops.mul import Mul
from rnnpool_mcu.ops.softmax import Softmax
from rnnpool_mcu.ops.sub import Sub

UNBOUNDED = (float("-inf"), float("inf"))
_BOUNDS = {
    0: UNBOUNDED,
    1: (0.0, float("inf")),  # RELU
    2: (-1.0, 1.0),  # RELU_N1_TO_1
    3: (0.0, 6.0),  # RELU6
}
_SAME, _VALID = 0, 1
BIAS_TOLERANCE = 0.02
"""Of a bias's scale against input scale x weight scale, in output steps: as the interpreter allows."""
ALL = None


@dataclass(frozen=True, eq=False)
class Call:
    """One operator to convert, with the types of its computed inputs."""

    model: StoredModel
    op: StoredOperator
    inputs: tuple[TensorType, ...]  # of computed tensors, constants left out
    result: int = 0  # which of the operator's outputs is wanted

    @property
    def output(self) -> Quantization:
        """Quantization of the wanted output."""
        return int8_quantization(self.model.tensors[self.op.outputs[self.result]])

    @property
    def clamp(self) -> tuple[int, int]:
        """The fused activation's bounds as int8 values."""
        activation = int(self.option("FusedActivationFunction"))
        if activation not in _BOUNDS:
            raise ModelError(
                f"fused activation {activation}, supported: none, relu, relu6, relu -1..1; "
                "make it a layer of its own"
            )
        return clamp_of(*_BOUNDS[activation], self.output)

    def option(self, name: str) -> int | float:
        """A scalar of the options table."""
        if name not in self.op.options:
            raise ModelError(f"its option {name} is missing; the file is damaged, export it again")
        return self.op.options[name]

    def constant(self, position: int) -> StoredTensor:
        """The input at `position`, which must be stored in the file."""
        found = self.optional(position)
        if found is None:
            raise ModelError(f"input {position} is missing; the file is damaged, export it again")
        return found

    def optional(self, position: int) -> StoredTensor | None:
        """The stored input at `position`; None where the operator has none."""
        if position >= len(self.op.inputs) or self.op.inputs[position] < 0:
            return None
        tensor = self.model.tensors[self.op.inputs[position]]
        if tensor.data is None:
            raise ModelError(
                f"input {position} ('{tensor.name}') is computed, supported: stored in the file; "
                "fold it before export"
            )
        return tensor


@dataclass(frozen=True)
class Converter:
    """How one TFLite operator becomes an integer operator.

    `inputs` are the positions of its computed inputs; ALL takes as many as there are.
    """

    inputs: tuple[int, ...] | None
    convert: Callable[[Call], Operator]
    constants: bool = False  # whether stored tensors may stand at these positions

    @property
    def limits(self) -> str:
        """What is supported, in one line."""
        text = (self.convert.__doc__ or "").partition("\n\n")[0]
        return " ".join(text.split())


def int8_quantization(tensor: StoredTensor) -> Quantization:
    """Scale and zero point of a computed int8 tensor; ModelError for any other."""
    if tensor.dtype != "INT8":
        raise ModelError(f"'{tensor.name}' is {tensor.dtype}, supported: INT8; {HOW_TO_QUANTIZE}")
    stored = tensor.quantization
    if stored is None:
        raise ModelError(f"'{tensor.name}' has no quantization; {HOW_TO_QUANTIZE}")
    if stored.scales.size != 1:
        raise ModelError(
            f"'{tensor.name}' has {stored.scales.size} scales, supported: 1 for a computed tensor; "
            "quantize activations per tensor"
        )
    try:
        return quantization_of(float(stored.scales[0]), int(stored.zero_points[0]))
    except ModelError as error:
        raise ModelError(f"'{tensor.name}': {error}") from error


HOW_TO_QUANTIZE = (
    "quantize the whole model to int8: optimizations = [tf.lite.Optimize.DEFAULT], a representative_dataset, "
    "target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]"
)


@dataclass(frozen=True, eq=False)
class Filter:
    """int8 weights with the output channels on `axis`, biases and weight scales of every output channel."""

    weights: Int8Array
    bias: NDArray[np.int32]
    scales: NDArray[np.float64]


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
    if stored is not None:
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
    image, padding = call.inputs[0], int(call.option("Padding"))
    if padding == _VALID:
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


def convert_fully_connected(call: Call) -> Operator:
    """Over all of its input, or over the channels of each pixel; relu, relu6, relu -1..1 fused."""
    filter_, image = filter_of(call, axis=0), call.inputs[0]
    if filter_.weights.ndim != 2 or call.op.options.get("WeightsFormat", 0):
        raise ModelError(f"weights of shape {filter_.weights.shape}, supported: plain [outputs, inputs]")
    rest = (filter_.bias, filter_.scales)
    if call.op.options.get("KeepNumDims") and filter_.weights.shape[1] == image.channels:
        window = Window((1, 1), (1, 1))
        return Conv2d(filter_.weights[:, None, None], *rest, window, call.output, call.clamp)
    return FullyConnected(filter_.weights, *rest, call.output, call.clamp)


def convert_add(call: Call) -> Operator:
    """Two computed tensors of the same shape, or one and a constant per channel; relu, relu6, relu -1..1
    fused.
    """
    if len(call.inputs) == 2:
        return Add(call.output, call.clamp)
    _, constant = real_constant(call)
    return scaled_by_constant(np.ones(1), constant, call.inputs[0], call.output, call.clamp)


def convert_sub(call: Call) -> Operator:
    """Two computed tensors of the same shape, or one and a constant per channel on either side; relu, relu6,
    relu -1..1 fused.
    """
    if len(call.inputs) == 2:
        return Sub(call.output, call.clamp)
    position, constant = real_constant(call)
    sign = 1.0 if position == 1 else -1.0  # x - constant, constant - x
    return scaled_by_constant(np.full(1, sign), -sign * constant, call.inputs[0], call.output, call.clamp)


def convert_mul(call: Call) -> Operator:
    """Two computed tensors, sides of 1 repeated, or one and a constant per channel; relu, relu6, relu -1..1
    fused.
    """
    if len(call.inputs) == 2:
        return Mul(call.output, call.clamp)
    _, constant = real_constant(call)
    return scaled_by_constant(constant, np.zeros(1), call.inputs[0], call.output, call.clamp)


def real_constant(call: Call) -> tuple[int, NDArray[np.float64]]:
    """Position and real values, one per channel or one in all, of the stored one of two operands."""
    position = 0 if call.model.tensors[call.op.inputs[0]].data is not None else 1
    tensor = call.constant(position)
    stored, data = tensor.quantization, tensor.data
    if tensor.dtype != "INT8" or stored is None or data is None or stored.scales.size != 1:
        raise ModelError(f"constant '{tensor.name}' is {tensor.dtype}, supported: INT8 with one scale")
    if data.ndim and data.size not in (1, data.shape[-1]):
        raise ModelError(
            f"constant '{tensor.name}' of shape {list(data.shape)}, supported: one value, or one per channel"
        )
    quantization = quantization_of(float(stored.scales[0]), int(stored.zero_points[0]))
    return position, quantization.scale * (data.reshape(-1).astype(np.float64) - quantization.zero_point)


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
    _same_quantization(call)
    return MaxPool2d(_pool_window(call), call.clamp)


def _same_quantization(call: Call) -> None:
    if call.output != call.inputs[0].quantization:
        raise ModelError(
            f"input {call.inputs[0].quantization}, output {call.output}, allowed: the same; put a QUANTIZE "
            "operator between"
        )


def convert_mean(call: Call) -> Operator:
    """Over height, width or both, of an image."""
    axes, rank = call.constant(1).data, len(call.model.tensors[call.op.inputs[0]].shape)
    assert axes is not None
    wanted = sorted({int(axis) % max(rank, 1) for axis in axes.reshape(-1)})
    image = call.inputs[0]
    if rank == 4 and wanted == [1, 2]:
        return GlobalAveragePool(call.output)
    if rank == 4 and wanted in ([1], [2]):
        kernel = (image.height, 1) if wanted == [1] else (1, image.width)
        return AveragePool2d(Window(kernel, (1, 1)), call.output)
    raise ModelError(f"mean over axes {wanted} of {rank}, supported: 1, 2 (height, width) of 4")


def convert_softmax(call: Call) -> Operator:
    """Over the channels; beta > 0."""
    return Softmax(call.output, float(call.option("Beta")))


def convert_concatenation(call: Call) -> Operator:
    """Computed tensors along height, width or channels, each with its own quantization."""
    if int(call.option("FusedActivationFunction")) != 0:
        raise ModelError("fused activation, supported: none; make it a layer of its own")
    rank = len(call.model.tensors[call.op.outputs[0]].shape)
    axis = int(call.option("Axis")) % max(rank, 1)
    return Concat(call.output, axis - rank + 3)


def _unary(name: str, make: Callable[..., Operator], *options: str) -> Converter:
    """A function of one value, by a table of 256 entries."""

    def convert(call: Call) -> Operator:
        return make(call.inputs[0].quantization, call.output, *(call.option(key) for key in options))

    convert.__doc__ = f"{name}: any shape and quantization, by a table of 256 entries."
    return Converter((0,), convert)


def _relu_n1_to_1(input: Quantization, output: Quantization) -> Operator:
    return lookup.clip(input, output, -1.0, 1.0)


def _relu_0_to_1(input: Quantization, output: Quantization) -> Operator:
    return lookup.clip(input, output, 0.0, 1.0)


CONVERTERS: Mapping[str, Converter] = {
    "ADD": Converter((0, 1), convert_add, constants=True),
    "AVERAGE_POOL_2D": Converter((0,), convert_average_pool_2d),
    "CONCATENATION": Converter(ALL, convert_concatenation),
    "CONV_2D": Converter((0,), convert_conv_2d),
    "DEPTHWISE_CONV_2D": Converter((0,), convert_depthwise_conv_2d),
    "ELU": _unary("x, or exp(x) - 1 below 0", lookup.elu),
    "FULLY_CONNECTED": Converter((0,), convert_fully_connected),
    "HARD_SWISH": _unary("x * relu6(x + 3) / 6", lookup.hard_swish),
    "LEAKY_RELU": _unary("x, or alpha * x below 0", lookup.leaky_relu, "Alpha"),
    "LOGISTIC": _unary("1 / (1 + exp(-x))", lookup.logistic),
    "MAX_POOL_2D": Converter((0,), convert_max_pool_2d),
    "MEAN": Converter((0,), convert_mean),
    "MUL": Converter((0, 1), convert_mul, constants=True),
    "RELU": _unary("max(x, 0)", lookup.relu),
    "RELU6": _unary("min(max(x, 0), 6)", lookup.relu6),
    "RELU_0_TO_1": _unary("min(max(x, 0), 1)", _relu_0_to_1),
    "RELU_N1_TO_1": _unary("min(max(x, -1), 1)", _relu_n1_to_1),
    "SOFTMAX": Converter((0,), convert_softmax),
    "SUB": Converter((0, 1), convert_sub, constants=True),
    "TANH": _unary("tanh(x)", lookup.tanh),
}
"""Converter of each operator that computes; views and edges are in tflite.py."""
