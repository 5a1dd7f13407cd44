"""Table from aten (and our own) operators to integer operators; one short function each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

import rnnpool_mcu.nn  # noqa: F401  registers torch.ops.rnnpool_mcu
from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends import fx_reader
from rnnpool_mcu.ir.operator import Int8Array, Operator
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.add import Add
from rnnpool_mcu.ops.average_pool import GlobalAveragePool
from rnnpool_mcu.ops.conv2d import Conv2d
from rnnpool_mcu.ops.convolution import Padding, Window
from rnnpool_mcu.ops.depthwise_conv2d import DepthwiseConv2d
from rnnpool_mcu.ops.fully_connected import FullyConnected
from rnnpool_mcu.ops.l2_norm import L2Norm
from rnnpool_mcu.ops.max_out import MaxOut
from rnnpool_mcu.ops.replicate_pad import ReplicatePad

aten = torch.ops.aten

VIEWS = {
    aten.flatten.using_ints,
    aten.reshape.default,
    aten.view.default,
    aten.squeeze.dims,
    aten.dropout.default,
}
"""Calls that change no value at inference."""

BIAS_LIMIT = 2.0**28
"""Of an int32 bias: leaves three quarters of the accumulator's range to the products."""


@dataclass(frozen=True, eq=False)
class Call:
    """One call to convert, with everything about it that is known where its result is quantized."""

    module: fx.GraphModule
    node: fx.Node
    arguments: Mapping[str, Any]  # by schema name, defaults filled in
    inputs: tuple[TensorType, ...]
    output: Quantization
    bounds: tuple[float, float]  # of the fused activation, real values

    @property
    def clamp(self) -> tuple[int, int]:
        """The fused activation's bounds as int8 values."""
        steps = (np.floor(bound / self.output.scale + 0.5) for bound in self.bounds)
        low, high = (step + self.output.zero_point for step in steps)
        return int(max(-128.0, low)), int(min(127.0, high))

    def constant(self, name: str) -> NDArray[Any] | None:
        """Value of a parameter argument; None where the call has none."""
        node = self.arguments[name]
        return None if node is None else fx_reader.constant(self.module, node)


@dataclass(frozen=True)
class Converter:
    """How one aten operator becomes an integer operator; `inputs` are its activation arguments."""

    inputs: tuple[str, ...]
    convert: Callable[[Call], Operator]


@dataclass(frozen=True, eq=False)
class Filter:
    """int8 weights as torch lays them out, the bias at input scale x weight scale, and the weight scales."""

    weights: Int8Array
    bias: NDArray[np.int32]
    scales: NDArray[np.float64]


def activation_bounds(node: fx.Node) -> tuple[float, float] | None:
    """Real bounds of an activation that is a clamp; None for any other node."""
    if node.target in (aten.relu.default, aten.relu_.default):
        return (0.0, float("inf"))
    if node.target is aten.relu6.default:
        return (0.0, 6.0)
    if node.target in (aten.hardtanh.default, aten.hardtanh_.default):
        arguments = fx_reader.arguments(node)
        return (float(arguments["min_val"]), float(arguments["max_val"]))
    return None


def quantized_filter(call: Call) -> Filter:
    """Weights and bias of a convolution or linear layer.

    Channels whose weights are so small that the bias would not fit get a larger weight scale.
    """
    read = fx_reader.weights(call.module, call.node, call.arguments["weight"])
    channels = read.values.shape[0]
    given = call.constant("bias")
    bias = np.zeros(channels) if given is None else given.astype(np.float64)
    flat = read.values.reshape(channels, -1).astype(np.float64)
    largest = read.scales[flat.any(axis=1)].max(initial=0.0) or 1.0
    empty = ~flat.any(axis=1)
    in_scale = call.inputs[0].scale
    scales = np.maximum(np.where(empty, largest, read.scales), np.abs(bias) / (in_scale * BIAS_LIMIT))
    changed = scales != read.scales
    flat[changed] = np.floor(flat[changed] * (read.scales / scales)[changed, None] + 0.5)
    steps = np.floor(bias / (in_scale * scales) + 0.5)
    return Filter(flat.astype(np.int8).reshape(read.values.shape), steps.astype(np.int32), scales)


def convert_conv2d(call: Call) -> Operator:
    """aten.conv2d: depthwise when groups = channels, else over all channels."""
    arguments, filter_ = call.arguments, quantized_filter(call)
    if _pair(arguments["dilation"]) != (1, 1):
        raise ModelError(f"dilation {arguments['dilation']}, supported 1; use a larger kernel")
    window = _window(call, filter_.weights.shape[2:])
    groups, channels = int(arguments["groups"]), call.inputs[0].channels
    if groups == 1:
        weights = np.ascontiguousarray(filter_.weights.transpose(0, 2, 3, 1))
        return Conv2d(weights, filter_.bias, filter_.scales, window, call.output, call.clamp)
    if (groups, filter_.weights.shape[0]) == (channels, channels):
        weights = np.ascontiguousarray(filter_.weights[:, 0].transpose(1, 2, 0))
        return DepthwiseConv2d(weights, filter_.bias, filter_.scales, window, call.output, call.clamp)
    raise ModelError(
        f"groups {groups} from {channels} to {filter_.weights.shape[0]} channels, supported 1 group, or "
        "as many as input and output channels (depthwise); split the layer"
    )


def convert_linear(call: Call) -> Operator:
    """aten.linear on a 1 x 1 image."""
    filter_ = quantized_filter(call)
    return FullyConnected(filter_.weights, filter_.bias, filter_.scales, call.output, call.clamp)


def convert_add(call: Call) -> Operator:
    """aten.add of two tensors, alpha 1."""
    if call.arguments["alpha"] != 1:
        raise ModelError(f"alpha {call.arguments['alpha']}, supported 1; scale in the layer before")
    return Add(call.output, call.clamp)


def convert_mean(call: Call) -> Operator:
    """aten.mean over height and width."""
    dims = {dim % 4 for dim in call.arguments["dim"] or ()}
    if dims != {2, 3}:
        raise ModelError(f"mean over dimensions {call.arguments['dim']}, supported height and width, (2, 3)")
    return GlobalAveragePool(call.output)


def convert_adaptive_average(call: Call) -> Operator:
    """aten.adaptive_avg_pool2d to 1 x 1."""
    if _pair(call.arguments["output_size"]) != (1, 1):
        raise ModelError(f"output size {call.arguments['output_size']}, supported 1x1 (global average)")
    return GlobalAveragePool(call.output)


def convert_pad(call: Call) -> Operator:
    """aten.pad in replicate mode, on the right and at the bottom."""
    mode = call.arguments.get("mode", "replicate")
    sides = call.arguments["pad"] if "pad" in call.arguments else call.arguments["padding"]
    left, right, top, bottom = [int(side) for side in sides] if len(sides) == 4 else (-1, -1, -1, -1)
    if mode != "replicate" or (left, top) != (0, 0):
        raise ModelError(
            f"mode {mode!r}, sides {list(sides)}, supported 'replicate' with [0, right, 0, bottom]; zero "
            "padding belongs into the convolution's padding"
        )
    return ReplicatePad(bottom, right)


def convert_l2_norm(call: Call) -> Operator:
    """rnnpool_mcu.l2_norm with learned scales per channel."""
    weight = call.constant("weight")
    if weight is None:
        raise ModelError("L2Norm: no weight; give one scale per channel")
    return L2Norm.of(weight.astype(np.float64), call.output)


def convert_max_out(call: Call) -> Operator:
    """rnnpool_mcu.max_out of the first channels."""
    return MaxOut(int(call.arguments["background"]))


def _window(call: Call, kernel: Sequence[int]) -> Window:
    padding = call.arguments["padding"]
    stride = _pair(call.arguments["stride"])
    if padding == "same":
        rows, columns = kernel[0] - 1, kernel[1] - 1
        sides = Padding(rows // 2, columns // 2, rows - rows // 2, columns - columns // 2)
    else:
        rows, columns = (0, 0) if padding == "valid" else _pair(padding)
        sides = Padding(rows, columns, rows, columns)
    return Window((kernel[0], kernel[1]), stride, sides)


def _pair(value: Any) -> tuple[int, int]:
    values = [value, value] if isinstance(value, int) else list(value)
    return (int(values[0]), int(values[-1]))


own = torch.ops.rnnpool_mcu
CONVERTERS: dict[Any, Converter] = {
    aten.conv2d.default: Converter(("input",), convert_conv2d),
    aten.conv2d.padding: Converter(("input",), convert_conv2d),
    aten.linear.default: Converter(("input",), convert_linear),
    aten.add.Tensor: Converter(("self", "other"), convert_add),
    aten.mean.dim: Converter(("self",), convert_mean),
    aten.adaptive_avg_pool2d.default: Converter(("self",), convert_adaptive_average),
    aten.pad.default: Converter(("self",), convert_pad),
    aten.replication_pad2d.default: Converter(("self",), convert_pad),
    own.l2_norm.default: Converter(("x",), convert_l2_norm),
    own.max_out.default: Converter(("x",), convert_max_out),
}
