"""ConvTranspose: groups and dilation become zeros among the weights, which change no sum."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.onnx.call import Call, filter_of
from rnnpool_mcu.frontends.onnx.operators.windows import check_kernel, spatial
from rnnpool_mcu.frontends.quantized_layers import MAX_SPAN
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ops.transposed_conv2d import TransposedConv2d

Pair = tuple[int, int]


def convert_conv_transpose(call: Call) -> Operator:
    """Any kernel, dilation, pads, auto_pad, output_shape and groups, row stride 1..64; a signal as an image
    of one row; scales per channel or tensor; Relu, Clip behind it fused.
    """
    group = call.node.integer("group", 1)
    filter_ = filter_of(call, 1, 2, axis=1, group=group)
    image, weights = call.inputs[0], filter_.weights
    check_kernel(call, weights.shape[2:])
    weights = weights[:, :, None] if weights.ndim == 3 else weights
    if weights.ndim != 4 or group < 1 or weights.shape[0] != image.channels or image.channels % group:
        raise ModelError(
            f"weights of shape {list(weights.shape)}, group {group}, for {image}; the file is damaged"
        )
    stride, dilation = spatial(call, "strides", 1), spatial(call, "dilations", 1)
    kernel = tuple((taps - 1) * apart + 1 for taps, apart in zip(weights.shape[2:], dilation, strict=True))
    if min(*stride, *dilation) < 1 or max(*stride, *kernel) > MAX_SPAN:
        raise ModelError(f"kernel {kernel}, stride {stride}, dilation {dilation}, allowed: 1..{MAX_SPAN}")
    origin, size = _placed(call, (kernel[0], kernel[1]), stride)
    taps = np.ascontiguousarray(_spread(weights, group, dilation).transpose(1, 2, 3, 0))
    rest = (filter_.bias, filter_.scales, stride, origin, size)
    return TransposedConv2d(taps, *rest, call.output, call.clamp)


def _spread(weights: NDArray[np.int8], group: int, dilation: Pair) -> NDArray[np.int8]:
    """Weights [in, out of a group, height, width] as [in, out, ..] of one group without dilation."""
    ins, outs, *kernel = weights.shape
    sides = [(taps - 1) * apart + 1 for taps, apart in zip(kernel, dilation, strict=True)]
    found = np.zeros((ins, outs * group, *sides), np.int8)
    each = ins // group
    for at in range(group):
        rows, columns = slice(at * each, (at + 1) * each), slice(at * outs, (at + 1) * outs)
        found[rows, columns, :: dilation[0], :: dilation[1]] = weights[rows]
    return found


def _placed(call: Call, kernel: Pair, stride: Pair) -> tuple[Pair, Pair]:
    """Rows and columns cut off at the top and on the left, and the output's height and width."""
    image, count = call.inputs[0], call.rank - 2
    extra = spatial(call, "output_padding", 0)
    whole = [(image.shape[at] - 1) * stride[at] + kernel[at] + extra[at] for at in (0, 1)]
    kind = call.node.text("auto_pad", "NOTSET")
    told = call.node.integers("output_shape", ())
    pads = call.node.integers("pads", [0] * (2 * count))
    if kind not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER") or len(told) not in (0, count):
        raise ModelError(f"auto_pad {kind}, output_shape {told}, supported: a known one, height and width")
    if len(pads) != 2 * count or min(pads, default=0) < 0:
        raise ModelError(f"pads {pads}, allowed: {2 * count} of 0 and more")
    if not told and kind in ("NOTSET", "VALID"):
        before, after = ([0] * (2 - count) + pads[side * count : (side + 1) * count] for side in (0, 1))
        if kind == "VALID":
            before, after = [0, 0], [0, 0]
        size = [whole[at] - before[at] - after[at] for at in (0, 1)]
        return (before[0], before[1]), (size[0], size[1])
    size = [min(whole[at], image.shape[at] * stride[at]) for at in (0, 1)]
    if told:
        size = [1] * (2 - count) + told
    if any(wanted > given for wanted, given in zip(size, whole, strict=True)):
        raise ModelError(f"output_shape {told} beyond {whole}, supported: what the kernel reaches")
    cut = [max(0, whole[at] - size[at]) for at in (0, 1)]
    first = [(total // 2 if kind == "SAME_UPPER" else total - total // 2) for total in cut]
    return (first[0], first[1]), (size[0], size[1])
