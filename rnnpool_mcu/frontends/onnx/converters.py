"""Table from ONNX operators to integer operators; one short function each.

The first lines of a function's docstring say what is supported: docs/operators.md is made of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.arithmetic import added, multiplied, subtracted
from rnnpool_mcu.frontends.channels_first import CHANNELS, HEIGHT, WIDTH
from rnnpool_mcu.frontends.onnx.call import ALL, Call, Converter, filter_of
from rnnpool_mcu.frontends.onnx.movers import MOVERS
from rnnpool_mcu.frontends.onnx.normalizations import NORMALIZATIONS
from rnnpool_mcu.frontends.quantized_layers import MAX_SPAN, same_padding, scaled_by_constant
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ops.arg_max import ArgMax
from rnnpool_mcu.ops.average_pool import GlobalAveragePool, SpatialSum
from rnnpool_mcu.ops.average_pool2d import AveragePool2d
from rnnpool_mcu.ops.concat import Concat
from rnnpool_mcu.ops.conv2d import Conv2d
from rnnpool_mcu.ops.convolution import Padding, Window
from rnnpool_mcu.ops.depthwise_conv2d import DepthwiseConv2d
from rnnpool_mcu.ops.fully_connected import FullyConnected
from rnnpool_mcu.ops.max_pool import MaxPool2d
from rnnpool_mcu.ops.prelu import PRelu
from rnnpool_mcu.ops.softmax import Softmax
from rnnpool_mcu.ops.transposed_conv2d import TransposedConv2d


def spatial(call: Call, name: str, absent: int, given: Sequence[int] | None = None) -> tuple[int, int]:
    """An attribute of height and width, or of width alone for a signal."""
    values = call.node.integers(name, given or [absent] * (call.rank - 2))
    if call.rank not in (3, 4) or len(values) != call.rank - 2:
        raise ModelError(f"{name} {values} of an input of {call.rank} dimensions, supported: 3 and 4")
    return (values[0], values[1]) if len(values) == 2 else (absent, values[0])


def padding_of(call: Call, kernel: tuple[int, int], stride: tuple[int, int]) -> Padding:
    """Explicit or automatic padding; `kernel` counts its dilation."""
    image, kind, count = call.inputs[0], call.node.text("auto_pad", "NOTSET"), call.rank - 2
    if kind in ("SAME_UPPER", "SAME_LOWER"):
        pairs = [same_padding(image.shape[i], kernel[i], stride[i]) for i in (0, 1)]
        if kind == "SAME_LOWER":
            pairs = [(after, before) for before, after in pairs]
        return Padding(pairs[0][0], pairs[1][0], pairs[0][1], pairs[1][1])
    if kind not in ("NOTSET", "VALID"):
        raise ModelError(f"auto_pad {kind}, supported: NOTSET, VALID, SAME_UPPER, SAME_LOWER")
    pads = call.node.integers("pads", [0] * (2 * count)) if kind == "NOTSET" else [0] * (2 * count)
    if len(pads) != 2 * count or any(not 0 <= pad <= MAX_SPAN for pad in pads):
        raise ModelError(f"pads {pads}, allowed: {2 * count} of 0..{MAX_SPAN}")
    if count == 1:
        return Padding(0, pads[0], 0, pads[1])
    return Padding(*pads)


def window_of(call: Call, kernel: tuple[int, int]) -> tuple[Window, tuple[int, int]]:
    """Window, its kernel counting taps, and dilation of a convolution or pooling of the first input."""
    stride, dilation = spatial(call, "strides", 1), spatial(call, "dilations", 1)
    if min(*stride, *kernel, *dilation) < 1 or max(stride) > MAX_SPAN:
        raise ModelError(f"kernel {kernel}, stride {stride}, dilation {dilation}, allowed: 1..{MAX_SPAN}")
    spans = ((kernel[0] - 1) * dilation[0] + 1, (kernel[1] - 1) * dilation[1] + 1)
    if max(spans) > MAX_SPAN:
        raise ModelError(f"window of {spans[0]}x{spans[1]}, allowed: at most {MAX_SPAN} rows and columns")
    return Window(kernel, stride, padding_of(call, spans, stride)), dilation


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
    _check_kernel(call, filter_.weights.shape[2:])
    window, dilation = window_of(call, (weights.shape[2], weights.shape[3]))
    rest = (filter_.bias, filter_.scales, window, call.output, call.clamp, dilation)
    if weights.shape[1] == 1 and group > 1:
        taps = np.ascontiguousarray(weights[:, 0].transpose(1, 2, 0))
        return DepthwiseConv2d(taps, *rest, weights.shape[0] // channels)
    return Conv2d(np.ascontiguousarray(weights.transpose(0, 2, 3, 1)), *rest, group)


def _check_kernel(call: Call, sides: Sequence[int]) -> None:
    """ModelError where the file tells another kernel than the weights have."""
    told = call.node.integers("kernel_shape", list(sides))
    if told != list(sides):
        raise ModelError(f"kernel_shape {told}, weights for {list(sides)}; the file is damaged")


def convert_conv_transpose(call: Call) -> Operator:
    """Stride 1..4, one group, no dilation; scales per channel or tensor; Relu, Clip behind it fused."""
    filter_, image = filter_of(call, 1, 2, axis=1), call.inputs[0]
    weights, stride = filter_.weights, spatial(call, "strides", 1)
    if weights.ndim != 4 or call.node.integer("group", 1) != 1 or spatial(call, "dilations", 1) != (1, 1):
        raise ModelError("with groups, dilation or of a signal, supported: plain ones of an image")
    if call.node.text("auto_pad", "NOTSET") != "NOTSET" or "output_shape" in call.node.attributes:
        raise ModelError("auto_pad or output_shape, supported: pads and output_padding")
    _check_kernel(call, weights.shape[2:])
    kernel, extra = (weights.shape[2], weights.shape[3]), spatial(call, "output_padding", 0)
    pad = padding_of(call, kernel, stride)
    height = (image.height - 1) * stride[0] + kernel[0] - pad.top - pad.bottom + extra[0]
    width = (image.width - 1) * stride[1] + kernel[1] - pad.left - pad.right + extra[1]
    taps = np.ascontiguousarray(weights.transpose(1, 2, 3, 0))
    rest = (filter_.bias, filter_.scales, stride, (pad.top, pad.left), (height, width))
    return TransposedConv2d(taps, *rest, call.output, call.clamp)


def convert_gemm(call: Call) -> Operator:
    """Stored weights, alpha and beta 1, a vector as input; a flattened map is taken as it is; Relu, Clip
    behind it fused.
    """
    node = call.node
    if node.integer("transA", 0) or node.real("alpha", 1.0) != 1.0 or node.real("beta", 1.0) != 1.0:
        raise ModelError("with transA, alpha or beta, supported: their defaults 0, 1, 1; fold them")
    return _connected(call, 2, outputs_at=0 if node.integer("transB", 0) else 1)


def convert_mat_mul(call: Call) -> Operator:
    """A vector times stored weights; a flattened map is taken as it is; Relu, Clip behind it fused."""
    return _connected(call, len(call.node.inputs), outputs_at=1)


def _connected(call: Call, bias_at: int, outputs_at: int) -> Operator:
    """All of the input to every output; weights in ONNX's order of a map are put into ours."""
    filter_, image, shape = filter_of(call, 1, bias_at, outputs_at), call.inputs[0], call.shapes[0]
    if filter_.weights.ndim != 2 or len(shape) != 2:
        raise ModelError(
            f"input {list(shape)}, weights {list(filter_.weights.shape)}, supported: 1 x features and a "
            "matrix; flatten the input first"
        )
    weights = filter_.weights if outputs_at == 0 else filter_.weights.T
    if weights.shape[1] != image.bytes:
        raise ModelError(
            f"weights for {weights.shape[1]} inputs, {image.bytes} are given; the file is damaged"
        )
    maps = weights.reshape(-1, image.channels, image.height, image.width).transpose(0, 2, 3, 1)
    flat = np.ascontiguousarray(maps.reshape(len(weights), -1))
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
    other = [side for axis, side in enumerate(sides) if axis != 1 and rank > 1]
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
    whole = window.kernel == (image.height, image.width) and window.padding == Padding()
    if whole and call.clamp == (-128, 127):
        return GlobalAveragePool(call.output)
    include = bool(call.node.integer("count_include_pad", 0))
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


def reduced_axes(call: Call) -> list[int]:
    """Axes of a reduction, from its attribute or, since opset 18, its second input."""
    found = call.stored_integers(1) if call.has(1) else call.node.integers("axes", ())
    return sorted({call.axis(axis) for axis in found})


def reduced_rank(call: Call) -> int:
    """Dimensions that are left."""
    return call.rank if call.node.integer("keepdims", 1) else call.rank - len(reduced_axes(call))


def convert_reduce_mean(call: Call) -> Operator:
    """Over height, width or both of an image; without keepdims over both."""
    axes, image = reduced_axes(call), call.inputs[0]
    if axes == [HEIGHT, WIDTH] or (axes == [WIDTH] and call.rank == 3):
        return GlobalAveragePool(call.output)
    if axes in ([HEIGHT], [WIDTH]) and call.node.integer("keepdims", 1):
        kernel = (image.height, 1) if axes == [HEIGHT] else (1, image.width)
        return AveragePool2d(Window(kernel, (1, 1)), call.output)
    raise ModelError("over these axes, supported: 2 and 3 (height, width), or one of them with keepdims 1")


def convert_reduce_sum(call: Call) -> Operator:
    """Over height and width of an image, both at once."""
    if reduced_axes(call) != [HEIGHT, WIDTH]:
        raise ModelError("over these axes, supported: 2 and 3 (height, width) of 4")
    return SpatialSum(call.output)


def convert_reduce_max(call: Call) -> Operator:
    """Over height and width of an image, both at once."""
    if reduced_axes(call) != [HEIGHT, WIDTH]:
        raise ModelError("over these axes, supported: 2 and 3 (height, width) of 4")
    return convert_global_max_pool(call)


def convert_softmax(call: Call) -> Operator:
    """Over the channels."""
    if call.axis(call.node.integer("axis", -1)) != CHANNELS:
        raise ModelError(f"over axis {call.node.integer('axis', -1)}, supported: 1, the channels")
    return Softmax(call.output)


def convert_concat(call: Call) -> Operator:
    """Computed tensors along height, width or channels, each with its own quantization."""
    axis = call.axis(call.node.integer("axis", 1))
    if call.target is None and len({kind.quantization for kind in call.inputs}) == 1:
        return Concat(call.inputs[0].quantization, axis)
    return Concat(call.output, axis)


def convert_prelu(call: Call) -> Operator:
    """Slopes stored in the file, one per channel or one in all."""
    position, slopes = per_channel(call)
    if position != 1 or slopes.size not in (1, call.inputs[0].channels):
        raise ModelError(f"{slopes.size} slopes for {call.inputs[0]}, supported: 1, or one for each channel")
    return PRelu(np.broadcast_to(slopes, (call.inputs[0].channels,)).astype(np.float64), call.output)


def convert_arg_max(call: Call) -> Operator:
    """Over at most 256 channels, keepdims 1 for maps, at an output of the model; the C gives an int8, less
    128 if there are more than 128 channels.
    """
    if call.axis(call.node.integer("axis", 0)) != CHANNELS or call.node.integer("select_last_index", 0):
        raise ModelError("over another axis, or the last index, supported: 1, the channels, first index")
    return ArgMax(smallest=call.node.kind == "ArgMin")


def _arg_rank(call: Call) -> int:
    return call.rank if call.node.integer("keepdims", 1) else call.rank - 1


CONVERTERS: Mapping[str, Converter] = {
    "Add": Converter((0, 1), convert_add, clamps=True, broadcast=True),
    "ArgMax": Converter((0,), convert_arg_max, keeps=True, indices=True, rank=_arg_rank),
    "ArgMin": Converter((0,), convert_arg_max, keeps=True, indices=True, rank=_arg_rank),
    "AveragePool": Converter((0,), convert_average_pool, clamps=True),
    "Concat": Converter(ALL, convert_concat, keeps=True),
    "Conv": Converter((0,), convert_conv, clamps=True),
    "ConvTranspose": Converter((0,), convert_conv_transpose, clamps=True),
    "Div": Converter((0, 1), convert_div, clamps=True),
    "Gemm": Converter((0,), convert_gemm, clamps=True, flat=True, rank=lambda _: 2),
    "GlobalAveragePool": Converter((0,), convert_global_average_pool),
    "GlobalMaxPool": Converter((0,), convert_global_max_pool, keeps=True),
    "MatMul": Converter((0,), convert_mat_mul, clamps=True, flat=True, rank=lambda _: 2),
    "MaxPool": Converter((0,), convert_max_pool, keeps=True),
    "Mul": Converter((0, 1), convert_mul, clamps=True),
    "PRelu": Converter((0,), convert_prelu),
    "ReduceMax": Converter((0,), convert_reduce_max, keeps=True, rank=reduced_rank),
    "ReduceMean": Converter((0,), convert_reduce_mean, rank=reduced_rank),
    "ReduceSum": Converter((0,), convert_reduce_sum, rank=reduced_rank),
    "Softmax": Converter((0,), convert_softmax),
    "Sub": Converter((0, 1), convert_sub, clamps=True, broadcast=True),
    **MOVERS,
    **NORMALIZATIONS,
}
"""Converter of each operator that computes; functions of one value and views are in their own files."""
