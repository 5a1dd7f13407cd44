"""Table from aten (and our own) operators that compute to integer operators; one short function each.

The first lines of a function's docstring say what is supported: docs/operators.md is made of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.arithmetic import added, multiplied, subtracted
from rnnpool_mcu.frontends.channels_first import CHANNELS, HEIGHT, WIDTH, image_shape
from rnnpool_mcu.frontends.quantized_layers import scaled_by_constant
from rnnpool_mcu.frontends.torch.call import Call, Converter, per_channel, quantized_filter
from rnnpool_mcu.frontends.torch.movers import MOVERS
from rnnpool_mcu.frontends.torch.pickers import PICKERS
from rnnpool_mcu.frontends.torch.recurrent import RECURRENT
from rnnpool_mcu.frontends.torch.reducers import REDUCERS
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.nn.aten import aten
from rnnpool_mcu.ops.arg_max import ArgMax
from rnnpool_mcu.ops.average_pool import GlobalAveragePool
from rnnpool_mcu.ops.average_pool2d import AveragePool2d
from rnnpool_mcu.ops.concat import Concat
from rnnpool_mcu.ops.conv2d import Conv2d
from rnnpool_mcu.ops.convolution import Padding, Window
from rnnpool_mcu.ops.depthwise_conv2d import DepthwiseConv2d
from rnnpool_mcu.ops.extreme import Maximum, Minimum
from rnnpool_mcu.ops.fully_connected import FullyConnected
from rnnpool_mcu.ops.l2_norm import L2Norm
from rnnpool_mcu.ops.layer_norm import LayerNorm
from rnnpool_mcu.ops.log_softmax import LogSoftmax
from rnnpool_mcu.ops.max_out import MaxOut
from rnnpool_mcu.ops.max_pool import MaxPool2d
from rnnpool_mcu.ops.pad import Pad
from rnnpool_mcu.ops.prelu import PRelu
from rnnpool_mcu.ops.softmax import Softmax
from rnnpool_mcu.ops.transpose import Transpose
from rnnpool_mcu.ops.transposed_conv2d import TransposedConv2d
from rnnpool_mcu.ops.where import Where


def convert_conv2d(call: Call) -> Operator:
    """Any kernel, stride, padding, dilation and groups; a signal as an image of one row; an activation
    behind it fused.
    """
    filter_, groups, channels = quantized_filter(call), int(call.arguments["groups"]), call.inputs[0].channels
    weights = filter_.weights[:, :, None] if filter_.weights.ndim == 3 else filter_.weights
    if weights.ndim != 4 or weights.shape[1] * groups != channels:
        raise ModelError(
            f"weights {list(filter_.weights.shape)}, groups {groups}, for {channels} channels of "
            f"{call.rank} dimensions, supported: images [1, channels, height, width], signals"
        )
    dilation = call.pair("dilation")
    window = _window(call, weights.shape[2:], dilation)
    rest = (filter_.bias, filter_.scales, window, call.output, call.clamp, dilation)
    if groups > 1 and groups == channels:
        taps = np.ascontiguousarray(weights[:, 0].transpose(1, 2, 0))
        return DepthwiseConv2d(taps, *rest, weights.shape[0] // channels)
    return Conv2d(np.ascontiguousarray(weights.transpose(0, 2, 3, 1)), *rest, groups)


def convert_transposed(call: Call) -> Operator:
    """Images by a row stride of 1..64; signals; groups and dilation in float models, whose weights get zeros
    for them; an activation behind it fused.
    """
    groups, dilation = call.arguments["groups"], call.pair("dilation")
    if groups != 1 or dilation != (1, 1):
        raise ModelError(
            f"groups {groups}, dilation {call.arguments['dilation']} of a quantized program, supported: 1; "
            "give the float one"
        )
    filter_, image = quantized_filter(call, channel_axis=1), call.inputs[0]
    stride, padding = call.pair("stride"), call.pair("padding", neutral=0)
    extra = call.pair("output_padding", neutral=0)
    weights = filter_.weights[:, :, None] if filter_.weights.ndim == 3 else filter_.weights
    kernel = weights.shape[2:]
    height, width = (
        (image.shape[at] - 1) * stride[at] - 2 * padding[at] + kernel[at] + extra[at] for at in (0, 1)
    )
    taps = np.ascontiguousarray(weights.transpose(1, 2, 3, 0))
    rest = (filter_.bias, filter_.scales, stride, padding, (height, width), call.output, call.clamp)
    return TransposedConv2d(taps, *rest)


def convert_linear(call: Call) -> Operator:
    """A vector; a flattened map is taken as it is; an activation behind it fused."""
    filter_, image = quantized_filter(call), call.inputs[0]
    if call.rank != 2:
        raise ModelError(
            f"input {list(call.shapes[0])}, supported: [1, features]; flatten it, or write a 1x1 convolution"
        )
    if filter_.weights.shape[1] != image.bytes:
        raise ModelError(f"weights for {filter_.weights.shape[1]} inputs, {image.bytes} are given")
    maps = filter_.weights.reshape(-1, image.channels, image.height, image.width).transpose(0, 2, 3, 1)
    flat = np.ascontiguousarray(maps.reshape(len(maps), -1))
    return FullyConnected(flat, filter_.bias, filter_.scales, call.output, call.clamp)


def convert_add(call: Call) -> Operator:
    """Two computed tensors, sides of 1 repeated, or one and a stored one; an activation behind it fused."""
    _check_alpha(call)
    return added(call, per_channel)


def convert_sub(call: Call) -> Operator:
    """Two computed tensors, sides of 1 repeated, or one and a stored one on either side; an activation
    behind it fused.
    """
    _check_alpha(call)
    return subtracted(call, per_channel)


def convert_mul(call: Call) -> Operator:
    """Two computed tensors, sides of 1 repeated, or one and a stored one; an activation behind it fused."""
    return multiplied(call, per_channel)


def convert_div(call: Call) -> Operator:
    """A computed tensor by a constant, one per channel or one in all; an activation behind it fused."""
    position, constant = per_channel(call)
    if position != 1 or not np.all(np.abs(constant) > 1e-30):
        raise ModelError("by a computed tensor or zero, supported: by a stored constant; multiply instead")
    return scaled_by_constant(1.0 / constant, np.zeros(1), call.inputs[0], call.output, call.clamp)


def _check_alpha(call: Call) -> None:
    if call.arguments["alpha"] != 1:
        raise ModelError(f"alpha {call.arguments['alpha']}, supported 1; scale in the layer before")


def convert_adaptive_average(call: Call) -> Operator:
    """To one pixel, or to sides that the input's are multiples of."""
    image, size = call.inputs[0], call.pair("output_size")
    if size == (1, 1):
        return GlobalAveragePool(call.output)
    if min(size) < 1 or image.height % size[0] or image.width % size[1]:
        raise ModelError(
            f"{image} to {size[0]}x{size[1]}, supported: sides that divide the input's; choose another size"
        )
    cell = (image.height // size[0], image.width // size[1])
    return AveragePool2d(Window(cell, cell), call.output)


def convert_adaptive_max(call: Call) -> Operator:
    """To one pixel, or to sides that the input's are multiples of; values only."""
    image, size = call.inputs[0], call.pair("output_size")
    if call.result or min(size) < 1 or image.height % size[0] or image.width % size[1]:
        raise ModelError(f"{image} to {size}, supported: values, sides that divide the input's")
    cell = (image.height // size[0], image.width // size[1])
    return MaxPool2d(Window(cell, cell))


def convert_max_pool(call: Call) -> Operator:
    """Any window, stride, padding, ceil_mode; no dilation."""
    if call.pair("dilation") != (1, 1):
        raise ModelError(f"dilation {call.arguments['dilation']}, supported: 1")
    image, padding = call.inputs[0], call.pair("padding", neutral=0)
    return MaxPool2d(_pool_window(call, (image.height, image.width), padding))


def convert_average_pool(call: Call) -> Sequence[Operator]:
    """Any window, stride, padding, ceil_mode."""
    if call.arguments.get("divisor_override") is not None:
        raise ModelError("divisor_override, supported: the window's size; scale behind it")
    image, padding = call.inputs[0], call.pair("padding", neutral=0)
    counted = bool(call.arguments["count_include_pad"]) and padding != (0, 0)
    if counted and call.arguments["ceil_mode"]:  # zeros count up to the padding, but not beyond it
        zeros = Padding(padding[0], padding[1], padding[0], padding[1])
        padded = (image.height + 2 * padding[0], image.width + 2 * padding[1])
        return [Pad(zeros), AveragePool2d(_pool_window(call, padded, (0, 0)), call.output, clamp=call.clamp)]
    window = _pool_window(call, (image.height, image.width), padding)
    whole = window.kernel == (image.height, image.width) and window.padding == Padding()
    if whole and call.clamp == (-128, 127):
        return [GlobalAveragePool(call.output)]
    return [AveragePool2d(window, call.output, counted, call.clamp)]


def _pool_window(call: Call, size: tuple[int, int], padding: tuple[int, int]) -> Window:
    kernel = call.pair("kernel_size")
    stride = call.pair("stride") if call.arguments["stride"] else kernel
    top, left = padding
    bottom, right = top, left
    if call.arguments["ceil_mode"]:
        bottom = _ceiled(size[0], top, kernel[0], stride[0])
        right = _ceiled(size[1], left, kernel[1], stride[1])
    return Window(kernel, stride, Padding(top, left, bottom, right))


def _ceiled(size: int, pad: int, kernel: int, stride: int) -> int:
    """Padding behind, so that the last, partial window fits; one that starts behind the image is left out."""
    count = -(-(size + 2 * pad - kernel) // stride) + 1
    if (count - 1) * stride >= size + pad:
        count -= 1
    return max(0, (count - 1) * stride + kernel - size - pad)


def convert_softmax(call: Call) -> Sequence[Operator]:
    """Over any dimension but the batch: the channels without copies, others between two."""
    return _over_channels(call, Softmax(call.output))


def convert_log_softmax(call: Call) -> Sequence[Operator]:
    """Over any dimension but the batch: the channels without copies, others between two."""
    return _over_channels(call, LogSoftmax(call.output))


def _over_channels(call: Call, op: Operator) -> Sequence[Operator]:
    """An operator over the channels for a call over any dimension, which takes their place."""
    order = [HEIGHT, WIDTH, CHANNELS]
    axis = call.axis(int(call.arguments["dim"]))
    order[axis], order[CHANNELS] = CHANNELS, axis
    turn = Transpose((order[0], order[1], order[2]))
    return [op] if axis == CHANNELS else [turn, op, turn]


def softmax_of_rows(call: Call) -> Operator:
    """Softmax over the last dimension, the channels of the value given."""
    return Softmax(call.output)


def log_softmax_of_rows(call: Call) -> Operator:
    """The logarithm of softmax over the last dimension, the channels of the value given."""
    return LogSoftmax(call.output)


def linear_of_rows(call: Call) -> Operator:
    """A linear layer along the last dimension, the channels of the value given: a 1x1 convolution."""
    filter_, channels = quantized_filter(call), call.inputs[0].channels
    if filter_.weights.shape[1] != channels:
        raise ModelError(f"weights for {filter_.weights.shape[1]} inputs, {channels} are given")
    rest = (filter_.bias, filter_.scales, Window((1, 1), (1, 1)), call.output, call.clamp)
    return Conv2d(np.ascontiguousarray(filter_.weights[:, None, None]), *rest)


def convert_product(_: Call) -> Operator:
    """Two computed tensors; as many matrices of both, or one second for all."""
    raise ModelError(
        "of a batch of stored matrices, or vectors, supported: two computed tensors, or one stored matrix; "
        "write a linear layer"
    )


def convert_attention(_: Call) -> Operator:
    """As two products and a softmax: without mask, is_causal, dropout and enable_gqa."""
    raise ModelError(
        "with a mask, is_causal, dropout or enable_gqa, supported: none of them; write it as products, "
        "softmax and torch.where"
    )


def convert_layer_norm(call: Call) -> Operator:
    """Over the last dimensions; group and instance normalization too, scaled by a layer of its own."""
    channels, weight, bias = call.inputs[0].channels, call.constant("weight"), call.constant("bias")
    if [int(side) for side in call.arguments["normalized_shape"]] != [channels]:
        raise ModelError(
            f"over {call.arguments['normalized_shape']} of {call.inputs[0]}, supported: the last"
        )
    gain = np.ones(channels) if weight is None else weight.astype(np.float64)
    shift = np.zeros(channels) if bias is None else bias.astype(np.float64)
    return LayerNorm(gain, shift, float(call.arguments["eps"]), call.output)


def convert_cat(call: Call) -> Operator:
    """Computed and stored tensors along height, width or channels, each with its own quantization."""
    axis = call.axis(int(call.arguments["dim"]))
    if call.target is None and len({kind.quantization for kind in call.inputs}) == 1:
        return Concat(call.inputs[0].quantization, axis)
    return Concat(call.output, axis)


def convert_maximum(call: Call) -> Operator:
    """Two tensors, sides of 1 repeated, one of them perhaps stored."""
    return Maximum(call.output)


def convert_minimum(call: Call) -> Operator:
    """Two tensors, sides of 1 repeated, one of them perhaps stored."""
    return Minimum(call.output)


def convert_where(call: Call) -> Operator:
    """A stored condition; two tensors, sides of 1 repeated, one of them perhaps stored."""
    condition = np.asarray(call.constant("condition"))
    if condition.ndim > call.rank:
        raise ModelError(f"condition {list(condition.shape)}, supported: as many dimensions as the tensors")
    height, width, channels = image_shape("condition", (1,) * (call.rank - condition.ndim) + condition.shape)
    mask = (condition.reshape(channels, height, width) != 0).transpose(1, 2, 0)
    return Where(call.output, np.ascontiguousarray(mask.astype(np.int8)))


def convert_prelu(call: Call) -> Operator:
    """Stored slopes, one per channel or one in all."""
    slopes, channels = np.asarray(call.constant("weight"), np.float64).reshape(-1), call.inputs[0].channels
    if slopes.size not in (1, channels):
        raise ModelError(f"{slopes.size} slopes for {channels} channels, supported: 1, or one for each")
    return PRelu(np.broadcast_to(slopes, (channels,)).astype(np.float64), call.output)


def convert_arg_max(call: Call) -> Operator:
    """Over at most 256 channels, at an output of the model; the C gives an int8, less 128 if there are more
    than 128 channels.
    """
    dim, image = call.arguments["dim"], call.inputs[0]
    is_vector = image.shape[:2] == (1, 1)
    if not (dim is None and is_vector) and (dim is None or call.axis(int(dim)) != CHANNELS):
        raise ModelError(f"over dimension {dim}, supported: 1, the channels")
    return ArgMax(smallest=call.node.target is aten.argmin.default)


def convert_l2_norm(call: Call) -> Operator:
    """rnnpool_mcu.l2_norm with learned scales per channel."""
    weight = call.constant("weight")
    if weight is None:
        raise ModelError("L2Norm: no weight; give one scale per channel")
    return L2Norm.of(weight.astype(np.float64), call.output)


def convert_max_out(call: Call) -> Operator:
    """rnnpool_mcu.max_out of the first channels."""
    return MaxOut(int(call.arguments["background"]))


def _window(call: Call, kernel: Sequence[int], dilation: tuple[int, int]) -> Window:
    padding, stride = call.arguments["padding"], call.pair("stride")
    if padding == "same":
        rows, columns = ((taps - 1) * apart for taps, apart in zip(kernel, dilation, strict=True))
        sides = Padding(rows // 2, columns // 2, rows - rows // 2, columns - columns // 2)
    else:
        rows, columns = (0, 0) if padding == "valid" else call.pair("padding", neutral=0)
        sides = Padding(rows, columns, rows, columns)
    return Window((kernel[0], kernel[1]), stride, sides)


own = torch.ops.rnnpool_mcu
CONVERTERS: Mapping[Any, Converter] = {
    aten.conv1d.default: Converter(("input",), convert_conv2d, clamps=True),
    aten.conv1d.padding: Converter(("input",), convert_conv2d, clamps=True),
    aten.conv2d.default: Converter(("input",), convert_conv2d, clamps=True),
    aten.conv2d.padding: Converter(("input",), convert_conv2d, clamps=True),
    aten.conv_transpose1d.default: Converter(("input",), convert_transposed, clamps=True),
    aten.conv_transpose2d.input: Converter(("input",), convert_transposed, clamps=True),
    aten.linear.default: Converter(
        ("input",), convert_linear, clamps=True, flat=True, over_last=True, rows=linear_of_rows
    ),
    aten.layer_norm.default: Converter(
        ("input",), convert_layer_norm, over_last=True, rows=convert_layer_norm
    ),
    aten.bmm.default: Converter(("self", "mat2"), convert_product, matrices=True),
    aten.matmul.default: Converter(("self", "other"), convert_product, matrices=True),
    aten.mm.default: Converter(("self", "mat2"), convert_product, matrices=True),
    aten.scaled_dot_product_attention.default: Converter(("query", "key", "value"), convert_attention),
    aten.add.Tensor: Converter(("self", "other"), convert_add, clamps=True, broadcast=True, maps=True),
    aten.sub.Tensor: Converter(("self", "other"), convert_sub, clamps=True, broadcast=True, maps=True),
    aten.mul.Tensor: Converter(("self", "other"), convert_mul, clamps=True, maps=True),
    aten.div.Tensor: Converter(("self", "other"), convert_div, clamps=True),
    aten.maximum.default: Converter(("self", "other"), convert_maximum, maps=True),
    aten.minimum.default: Converter(("self", "other"), convert_minimum, maps=True),
    aten.where.self: Converter(("self", "other"), convert_where, maps=True),
    aten.adaptive_avg_pool2d.default: Converter(("self",), convert_adaptive_average),
    aten.adaptive_max_pool2d.default: Converter(("self",), convert_adaptive_max, keeps=True),
    aten.adaptive_max_pool1d.default: Converter(("self",), convert_adaptive_max, keeps=True),
    aten.adaptive_avg_pool1d.default: Converter(("self",), convert_adaptive_average),
    aten.max_pool1d.default: Converter(("self",), convert_max_pool, keeps=True),
    aten.avg_pool1d.default: Converter(("self",), convert_average_pool, clamps=True),
    aten.max_pool2d.default: Converter(("self",), convert_max_pool, keeps=True),
    aten.avg_pool2d.default: Converter(("self",), convert_average_pool, clamps=True),
    aten.softmax.int: Converter(("self",), convert_softmax, rows=softmax_of_rows),
    aten.log_softmax.int: Converter(("self",), convert_log_softmax, rows=log_softmax_of_rows),
    aten.cat.default: Converter(("tensors",), convert_cat, keeps=True, maps=True),
    aten.prelu.default: Converter(("self",), convert_prelu),
    aten.argmax.default: Converter(("self",), convert_arg_max, keeps=True),
    aten.argmin.default: Converter(("self",), convert_arg_max, keeps=True),
    own.l2_norm.default: Converter(("x",), convert_l2_norm),
    own.max_out.default: Converter(("x",), convert_max_out, keeps=True),
    **MOVERS,
    **PICKERS,
    **RECURRENT,
    **REDUCERS,
}
"""Converter of each operator that computes or moves values; functions and views are in their own files."""
