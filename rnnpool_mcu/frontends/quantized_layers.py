"""What front ends of quantized files share: SAME padding, fused clamps, arithmetic with constants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import Int8Array, Operator
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.convolution import Window
from rnnpool_mcu.ops.depthwise_conv2d import DepthwiseConv2d

MAX_TENSOR_ELEMENTS = 1 << 26
"""Of an activation: beyond it nothing fits a microcontroller, and importing would take this machine's RAM."""
MAX_SIDE = 1 << 15
"""Of an activation's height and width: row numbers and columns are int16 in some kernels."""
MAX_SPAN = 1024
"""Of a window with its dilation, in rows or columns."""
SMALLEST_SCALE = float(np.finfo(np.float32).tiny)
"""The least normal float32; a denormal scale has too few bits left to compute with."""


@dataclass(frozen=True, eq=False)
class Filter:
    """int8 weights as the format lays them out; biases and weight scales of every output channel.

    The biases are at input scale x weight scale.
    """

    weights: Int8Array
    bias: NDArray[np.int32]
    scales: NDArray[np.float64]


def summary(convert: Callable[..., object]) -> str:
    """What a converter supports: the first paragraph of its docstring, in one line."""
    text = (convert.__doc__ or "").partition("\n\n")[0]
    return " ".join(text.split())


def quantization_of(scale: float, zero_point: int) -> Quantization:
    """Checked parameters of one int8 tensor; ModelError for a scale that is zero, denormal or not finite."""
    if not (np.isfinite(scale) and scale >= SMALLEST_SCALE):
        raise ModelError(
            f"scale {scale:g}, allowed: finite and at least {SMALLEST_SCALE:g}; calibrate with data that "
            "reaches this tensor's real range"
        )
    if not -128 <= zero_point <= 127:
        raise ModelError(f"zero point {zero_point}, allowed: -128..127; quantize to int8 again")
    return Quantization(scale, zero_point)


def tensor_type(sides: Sequence[int], quantization: Quantization) -> TensorType:
    """An activation of height x width x channels; ModelError when a side is 0 or it is absurdly large."""
    height, width, channels = sides
    too_large = max(height, width) > MAX_SIDE or height * width * channels > MAX_TENSOR_ELEMENTS
    if min(sides) < 1 or too_large:
        raise ModelError(
            f"{height}x{width}x{channels}, allowed: height and width 1..{MAX_SIDE}, and "
            f"{MAX_TENSOR_ELEMENTS:,} elements in all; use a smaller input"
        )
    return TensorType(height, width, channels, quantization)


def same_padding(size: int, extent: int, stride: int) -> tuple[int, int]:
    """Zero points before and after `size` pixels so that ceil(size / stride) windows fit; the odd one after.

    `extent` is the kernel's size with its dilation.
    """
    total = max(0, ((size + stride - 1) // stride - 1) * stride + extent - size)
    return total // 2, total - total // 2


def clamp_of(low: float, high: float, output: Quantization) -> tuple[int, int]:
    """Bounds of a fused activation as int8 values, rounded half away from zero."""
    steps = [_round_half_away(bound / output.scale) + output.zero_point for bound in (low, high)]
    return int(min(127.0, max(-128.0, steps[0]))), int(max(-128.0, min(127.0, steps[1])))


def _round_half_away(value: float) -> float:
    return float(np.copysign(np.floor(abs(value) + 0.5), value))


def scaled_by_constant(
    factors: NDArray[np.float64],  # [1] or [channels], real values
    terms: NDArray[np.float64],  # [1] or [channels], real values
    image: TensorType,
    output: Quantization,
    clamp: tuple[int, int],
) -> Operator:
    """image * factors + terms, channel by channel, as a depthwise convolution of one pixel."""
    for values in (factors, terms):
        if values.size not in (1, image.channels) or not np.isfinite(values).all():
            raise ModelError(
                f"a constant of {values.size} values on {image}, supported: 1, or one for each channel"
            )
    factor = np.broadcast_to(factors, (image.channels,)).astype(np.float64)
    largest = np.abs(factor).max() or 1.0
    # A channel's factor is in its scale, so that no precision is lost in its one weight.
    scales = np.maximum(np.abs(factor), largest * 2.0**-20) / _UNIT
    weights = np.rint(factor / scales).astype(np.int8).reshape(1, 1, -1)
    bias = np.rint(terms / (image.scale * scales))
    if np.abs(bias).max() >= 2.0**30:
        raise ModelError(
            f"a constant of {np.abs(terms).max():g} beside an input scale of {image.scale:g}, allowed: "
            "constants in the range of the input; calibrate again"
        )
    window = Window((1, 1), (1, 1))
    return DepthwiseConv2d(weights, bias.astype(np.int32), scales, window, output, clamp)


_UNIT = 64  # the weight that stands for a factor: six bits more than an input step for the constant term
