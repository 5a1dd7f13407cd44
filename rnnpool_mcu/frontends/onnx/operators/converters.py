"""Table from ONNX operators to integer operators; one short function each.

The first lines of a function's docstring say what is supported: docs/operators.md is made of them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.arithmetic import added, multiplied, subtracted
from rnnpool_mcu.frontends.channels_first import CHANNELS, HEIGHT, WIDTH
from rnnpool_mcu.frontends.onnx.call import ALL, Call, Converter, filter_of
from rnnpool_mcu.frontends.onnx.operators.movers import MOVERS
from rnnpool_mcu.frontends.onnx.operators.normalizations import NORMALIZATIONS
from rnnpool_mcu.frontends.onnx.operators.picking import PICKERS
from rnnpool_mcu.frontends.onnx.operators.transposed_convolution import convert_conv_transpose
from rnnpool_mcu.frontends.onnx.operators.windows import check_kernel, spatial, window_of
from rnnpool_mcu.frontends.quantized_layers import MAX_SPAN, scaled_by_constant
from rnnpool_mcu.frontends.reductions import reduced
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ops.arg_max import ArgMax
from rnnpool_mcu.ops.average_pool import GlobalAveragePool
from rnnpool_mcu.ops.average_pool2d import AveragePool2d
from rnnpool_mcu.ops.concat import Concat
from rnnpool_mcu.ops.conv2d import Conv2d
from rnnpool_mcu.ops.convolution import Padding, Window
from rnnpool_mcu.ops.depthwise_conv2d import DepthwiseConv2d
from rnnpool_mcu.ops.fully_connected import FullyConnected
from rnnpool_mcu.ops.log_softmax import LogSoftmax
from rnnpool_mcu.ops.max_pool import MaxPool2d
from rnnpool_mcu.ops.prelu import PRelu
from rnnpool_mcu.ops.prelu_map import PReluMap
from rnnpool_mcu.ops.softmax import Softmax


def convert_conv(call: Call) -> Operator:
    """Two dimensions, or one as an image of one row; any kernel, stride, dilation, pads and groups; scales
    per channel or tensor; Relu, Clip behind it fused.
    """
    filter_, group = filter_of(call, 1, 2, axis=0), call.node.integer("group", 1)
    weights = filter_.weights[:, :, None] if filter_.weights.ndim == 3 else filter_.weights
    channels = call.inputs[0].channels
    if weights.ndim != 4 or group < 1 or weights.shape[1] * group != channels or weights.shape[0] % group:
        raise ModelError(
            f"weights of shape {list(filter_.weights.shape)}, group {group}, for {channels} channels; the "
            "file is damaged"
        )
    check_kernel(call, filter_.weights.shape[2:])
    window, dilation = window_of(call, (weights.shape[2], weights.shape[3]))
    rest = (filter_.bias, filter_.scales, window, call.output, call.clamp, dilation)
    if weights.shape[1] == 1 and group > 1:
        taps = np.ascontiguousarray(weights[:, 0].transpose(1, 2, 0))
        return DepthwiseConv2d(taps, *rest, weights.shape[0] // channels)
    return Conv2d(np.ascontiguousarray(weights.transpose(0, 2, 3, 1)), *rest, group)


def convert_gemm(call: Call) -> Operator:
    """Stored weights, any alpha but 0, beta and bias, a vector as input; a flattened map is taken as it is;
    Relu, Clip behind it fused.
    """
    node = call.node
    if node.integer("transA", 0):
        raise ModelError("with transA, supported: a vector as it is; leave it out")
    outputs_at = 0 if node.integer("transB", 0) else 1
    return _connected(call, 2, outputs_at, node.real("alpha", 1.0), node.real("beta", 1.0))


def convert_mat_mul(call: Call) -> Operator:
    """A vector, or rows of [1, .., features], times stored weights; a flattened map is taken as it is; Relu,
    Clip behind it fused. Two computed tensors: as many matrices of both, or one second for all.
    """
    if call.is_stored(0):
        raise ModelError(
            "its first is stored in the file, supported: a stored second; transpose both and swap"
        )
    if call.rank > 2:
        filter_ = filter_of(call, 1, len(call.node.inputs), axis=1)
        if filter_.weights.shape[:-1] != (call.inputs[0].channels,):
            raise ModelError(f"weights of shape {list(filter_.weights.shape)} for rows of {call.inputs[0]}")
        taps = np.ascontiguousarray(filter_.weights.T[:, None, None])
        rest = (filter_.bias, filter_.scales, Window((1, 1), (1, 1)), call.output, call.clamp)
        return Conv2d(taps, *rest)
    return _connected(call, len(call.node.inputs), outputs_at=1)


def _connected(call: Call, bias_at: int, outputs_at: int, alpha: float = 1.0, beta: float = 1.0) -> Operator:
    """All of the input to every output; weights in ONNX's order of a map are put into ours."""
    filter_ = filter_of(call, 1, bias_at, outputs_at, factor=alpha, bias_factor=beta)
    image, shape = call.inputs[0], call.shapes[0]
    if filter_.weights.ndim != 2 or len(shape) != 2:
        raise ModelError(
            f"input {list(shape)}, weights {list(filter_.weights.shape)}, supported: 1 x features and a "
            "matrix; flatten the input first"
        )
    if shape[0] != 1:
        raise ModelError(f"input {list(shape)}: batch {shape[0]}, supported: 1; export it with batch 1")
    weights = filter_.weights if outputs_at == 0 else filter_.weights.T
    if weights.shape[1] != image.bytes:
        raise ModelError(
            f"weights for {weights.shape[1]} inputs, {image.bytes} are given; the file is damaged"
        )
    if not call.last:
        maps = weights.reshape(-1, image.channels, image.height, image.width).transpose(0, 2, 3, 1)
        weights = maps.reshape(len(weights), -1)
    flat = np.ascontiguousarray(weights)
    return FullyConnected(flat, filter_.bias, filter_.scales, call.output, call.clamp)


def convert_add(call: Call) -> Operator:
    """Two computed tensors, sides of 1 repeated, or one and a constant per channel; Relu, Clip behind it
    fused.
    """
    return added(call, per_channel)


def convert_sub(call: Call) -> Operator:
    """Two computed tensors, sides of 1 repeated, or one and a constant per channel on either side; Relu,
    Clip behind it fused.
    """
    return subtracted(call, per_channel)


def convert_mul(call: Call) -> Operator:
    """Two computed tensors, sides of 1 repeated, or one and a constant per channel; Relu, Clip behind it
    fused.
    """
    return multiplied(call, per_channel)


def convert_div(call: Call) -> Operator:
    """A computed tensor by a constant, one per channel or one in all; Relu, Clip behind it fused."""
    position, constant = per_channel(call) if len(call.inputs) == 1 else (0, np.ones(1))
    if position != 1 or not np.all(np.abs(constant) > 1e-30):
        raise ModelError("by a computed tensor or zero, supported: by a stored constant; multiply instead")
    return scaled_by_constant(1.0 / constant, np.zeros(1), call.inputs[0], call.output, call.clamp)


def per_channel(call: Call) -> tuple[int, np.typing.NDArray[np.float64]]:
    """Position and real values, one per channel or one in all, of the stored one of two operands."""
    names = call.node.inputs[:2]
    position = next((i for i, n in enumerate(names) if n in call.constants or n in call.weights), 0)
    array = np.asarray(call.stored(position), np.float64)
    rank = max(array.ndim, call.rank)
    sides = (1,) * (rank - array.ndim) + array.shape
    channels = rank - 1 if call.last else 1
    other = [side for axis, side in enumerate(sides) if axis != channels and rank > 1]
    if array.ndim > call.rank or (array.size != 1 and any(side != 1 for side in other)):
        raise ModelError(
            f"constant '{names[position]}' of shape {list(array.shape)}, "
            "supported: one value, or one per channel"
        )
    return position, array.reshape(-1)


def _pool_window(call: Call) -> Window:
    window, dilation = window_of(call, spatial(call, "kernel_shape", 1, ()))
    if dilation != (1, 1):
        raise ModelError(f"dilations {dilation}, supported: 1")
    if not call.node.integer("ceil_mode", 0):
        return window
    pad, image = window.padding, call.inputs[0]
    bottom = _ceiled(image.height, pad.top, pad.bottom, window.kernel[0], window.stride[0])
    right = _ceiled(image.width, pad.left, pad.right, window.kernel[1], window.stride[1])
    return Window(window.kernel, window.stride, Padding(pad.top, pad.left, bottom, right))


def _ceiled(size: int, before: int, after: int, kernel: int, stride: int) -> int:
    """Padding behind, so that the last, partial window fits; one that starts behind the image is left out."""
    count = -(-(size + before + after - kernel) // stride) + 1
    if (count - 1) * stride >= size + before:
        count -= 1
    return max(0, (count - 1) * stride + kernel - size - before)


def convert_max_pool(call: Call) -> Operator:
    """Any window, stride and pads, ceil_mode; no dilation."""
    if len(call.node.outputs) > 1 and call.node.outputs[1]:
        raise ModelError("with the indices as second output, supported: values only")
    return MaxPool2d(_pool_window(call))


def convert_average_pool(call: Call) -> Operator:
    """Any window, stride and pads, ceil_mode without count_include_pad; Relu, Clip behind it fused."""
    window, image = _pool_window(call), call.inputs[0]
    include = bool(call.node.integer("count_include_pad", 0))
    whole = window.kernel == (image.height, image.width) and window.padding == Padding()
    if whole and call.clamp == (-128, 127):
        return GlobalAveragePool(call.output)
    if include and call.node.integer("ceil_mode", 0):
        raise ModelError("ceil_mode and count_include_pad, supported: one of them")
    return AveragePool2d(window, call.output, include, call.clamp)


def convert_global_average_pool(call: Call) -> Operator:
    """Over height and width."""
    return GlobalAveragePool(call.output)


def convert_global_max_pool(call: Call) -> Operator:
    """Over height and width."""
    image = call.inputs[0]
    if max(image.height, image.width) > MAX_SPAN:
        raise ModelError(f"over {image}, allowed: at most {MAX_SPAN} rows and columns")
    return MaxPool2d(Window((image.height, image.width), (1, 1)))


def given_axes(call: Call) -> list[int]:
    """The file's axes of a reduction, by attribute or, since opset 18, second input; all by default."""
    found = call.stored_integers(1) if call.has(1) else call.node.integers("axes", ())
    if found:
        return found
    if call.node.integer("noop_with_empty_axes", 0):
        raise ModelError("over no axis, supported: one or more; leave it out")
    if call.shapes[0][0] != 1:
        raise ModelError("over a batch, supported: a batch of 1")
    return list(range(1, call.rank))


def reduced_axes(call: Call) -> list[int]:
    """Axes of a reduction; that of a batch of 1 changes nothing."""
    axes = [axis for axis in given_axes(call) if call.shapes[0][axis] != 1 or axis % call.rank]
    return sorted({call.axis(axis) for axis in axes})


def dropped_axes(call: Call) -> list[int]:
    """The file's axes that a reduction leaves out; without any axes, the batch too."""
    if call.node.integer("keepdims", 1):
        return []
    told = call.has(1) or call.node.integers("axes", ())
    return given_axes(call) if told else list(range(call.rank))


def convert_reduce_mean(call: Call) -> Operator:
    """Over any axes but the batch."""
    return reduced("mean", reduced_axes(call), call.output)


def convert_reduce_sum(call: Call) -> Operator:
    """Over any axes but the batch."""
    return reduced("sum", reduced_axes(call), call.output)


def convert_reduce_max(call: Call) -> Operator:
    """Over any axes but the batch; the quantization is the input's."""
    axes, image = reduced_axes(call), call.inputs[0]
    if axes == [HEIGHT, WIDTH] and max(image.height, image.width) <= MAX_SPAN:
        return convert_global_max_pool(call)
    return reduced("max", axes, image.quantization)


def convert_reduce_min(call: Call) -> Operator:
    """Over any axes but the batch; the quantization is the input's."""
    return reduced("min", reduced_axes(call), call.inputs[0].quantization)


def convert_softmax(call: Call) -> Operator:
    """Over axis 1 or the last one."""
    if call.axis(call.node.integer("axis", -1)) != CHANNELS:
        raise ModelError(f"over axis {call.node.integer('axis', -1)}, supported: 1 and the last one")
    return Softmax(call.output)


def convert_log_softmax(call: Call) -> Operator:
    """Over axis 1 or the last one."""
    if call.axis(call.node.integer("axis", -1)) != CHANNELS:
        raise ModelError(f"over axis {call.node.integer('axis', -1)}, supported: 1 and the last one")
    return LogSoftmax(call.output)


def convert_concat(call: Call) -> Operator:
    """Computed tensors along height, width or channels, each with its own quantization."""
    axis = call.axis(call.node.integer("axis", 1))
    if call.target is None and len({kind.quantization for kind in call.inputs}) == 1:
        return Concat(call.inputs[0].quantization, axis)
    return Concat(call.output, axis)


def convert_prelu(call: Call) -> Operator:
    """Slopes of any shape, stored or computed."""
    if len(call.inputs) == 2:
        return PReluMap(call.output)
    position, slopes = per_channel(call)
    if position != 1 or slopes.size not in (1, call.inputs[0].channels):
        raise ModelError(f"{slopes.size} slopes for {call.inputs[0]}, supported: 1, or one for each channel")
    return PRelu(np.broadcast_to(slopes, (call.inputs[0].channels,)).astype(np.float64), call.output)


def convert_arg_max(call: Call) -> Operator:
    """Over axis 1 or the last one, of at most 256 values, at an output of the model; the C gives an int8,
    less 128 if there are more than 128 channels.
    """
    if call.axis(call.node.integer("axis", 0)) != CHANNELS or call.node.integer("select_last_index", 0):
        raise ModelError("over another axis, or the last index, supported: 1, the channels, first index")
    return ArgMax(smallest=call.node.kind == "ArgMin")


def _arg_axes(call: Call) -> list[int]:
    return [] if call.node.integer("keepdims", 1) else [call.node.integer("axis", 0)]


_INDICES = Converter(
    (0,), convert_arg_max, keeps=True, indices=True, drops=_arg_axes, rows=True, channelwise=True
)
CONVERTERS: Mapping[str, Converter] = {
    "Add": Converter((0, 1), convert_add, clamps=True, broadcast=True, rows=True),
    "ArgMax": _INDICES,
    "ArgMin": _INDICES,
    "AveragePool": Converter((0,), convert_average_pool, clamps=True),
    "Concat": Converter(ALL, convert_concat, keeps=True, rows=True),
    "Conv": Converter((0,), convert_conv, clamps=True),
    "ConvTranspose": Converter((0,), convert_conv_transpose, clamps=True),
    "Div": Converter((0, 1), convert_div, clamps=True, rows=True),
    "Gemm": Converter((0,), convert_gemm, clamps=True, flat=True),
    "GlobalAveragePool": Converter((0,), convert_global_average_pool),
    "GlobalMaxPool": Converter((0,), convert_global_max_pool, keeps=True),
    "LogSoftmax": Converter((0,), convert_log_softmax, rows=True, channelwise=True),
    "MatMul": Converter(
        (0, 1), convert_mat_mul, clamps=True, flat=True, rows=True, channelwise=True, matrices=True
    ),
    "MaxPool": Converter((0,), convert_max_pool, keeps=True),
    "Mul": Converter((0, 1), convert_mul, clamps=True, rows=True),
    "PRelu": Converter((0, 1), convert_prelu, rows=True),
    "ReduceMax": Converter((0,), convert_reduce_max, keeps=True, drops=dropped_axes, rows=True),
    "ReduceMean": Converter((0,), convert_reduce_mean, drops=dropped_axes, rows=True),
    "ReduceMin": Converter((0,), convert_reduce_min, keeps=True, drops=dropped_axes, rows=True),
    "ReduceSum": Converter((0,), convert_reduce_sum, drops=dropped_axes, rows=True),
    "Softmax": Converter((0,), convert_softmax, rows=True, channelwise=True),
    "Sub": Converter((0, 1), convert_sub, clamps=True, broadcast=True, rows=True),
    **MOVERS,
    **NORMALIZATIONS,
    **PICKERS,
}
"""Converter of each operator that computes; functions of one value and views are in their own files."""
