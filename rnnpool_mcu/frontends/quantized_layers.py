"""What front ends of quantized files share: SAME padding, fused clamps, layers from stored weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import Int8Array, Operator
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.conv2d import Conv2d
from rnnpool_mcu.ops.convolution import Padding, Window
from rnnpool_mcu.ops.fully_connected import FullyConnected

MAX_TENSOR_ELEMENTS = 1 << 26
"""Of an activation: beyond it nothing fits a microcontroller, and importing would take this machine's RAM."""
SMALLEST_SCALE = float(np.finfo(np.float32).tiny)
"""The least normal float32; a denormal scale has too few bits left to compute with."""


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
    if min(sides) < 1 or height * width * channels > MAX_TENSOR_ELEMENTS:
        raise ModelError(
            f"{height}x{width}x{channels}, allowed: sides of at least 1 and {MAX_TENSOR_ELEMENTS:,} elements "
            "in all; use a smaller input"
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


def flattened_layer(
    weights: Int8Array,  # [out_channels, inputs]
    bias: NDArray[np.int32],
    scales: NDArray[np.float64],
    image: TensorType,
    output: Quantization,
    clamp: tuple[int, int],
) -> Operator:
    """A fully connected layer over all of an image in the order of its bytes; it is not copied to be flat."""
    if weights.shape[1] != image.bytes:
        raise ModelError(f"{image} input, weights for {weights.shape[1]} values; the file is damaged")
    if (image.height, image.width) == (1, 1):
        return FullyConnected(weights, bias, scales, output, clamp)
    window = Window((image.height, image.width), (1, 1), Padding())
    return Conv2d(weights.reshape(-1, *image.shape), bias, scales, window, output, clamp)
