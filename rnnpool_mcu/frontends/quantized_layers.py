"""What front ends of quantized files share: SAME padding, fused clamps, arithmetic with constants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import Int8Array, Operator
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.convolution import Window
from rnnpool_mcu.ops.depthwise_conv2d import DepthwiseConv2d
from rnnpool_mcu.ops.lookup import Lookup

MAX_TENSOR_ELEMENTS = 1 << 26
"""Of an activation: beyond it nothing fits a microcontroller, and importing would take this machine's RAM."""
MAX_SIDE = 1 << 15
"""Of an activation's height and width: row numbers and columns are int16 in some kernels."""
MAX_SPAN = 1024
"""Of a window with its dilation, in rows or columns."""
MAX_TERM_ERROR = 0.125
"""Output steps, of rounding a constant that is added, beside the half step of the result's own."""
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
    if factors.size == terms.size == 1:
        at, largest = float(terms[0]), abs(float(factors[0])) * image.scale / output.scale
        if _rounding_of(_UNIT, largest) > MAX_TERM_ERROR and at != 0.0:
            return _table(float(factors[0]), at, image, output, clamp)
    factor = np.broadcast_to(factors, (image.channels,)).astype(np.float64)
    largest = float(np.abs(factor).max()) or 1.0
    # A channel's factor is in its scale, so that no precision is lost in its one weight.
    unit = _UNIT if _rounding_of(_UNIT, largest * image.scale / output.scale) <= MAX_TERM_ERROR else 127
    scales = np.maximum(np.abs(factor), largest * 2.0**-20) / unit
    weights = np.rint(factor / scales).astype(np.int8).reshape(1, 1, -1)
    exact = terms / (image.scale * scales)
    bias = np.rint(exact)
    if np.abs(bias).max() >= 2.0**30:
        raise ModelError(
            f"a constant of {np.abs(terms).max():g} beside an input scale of {image.scale:g}, allowed: "
            "constants in the range of the input; calibrate again"
        )
    error = float((np.abs(bias - exact) * image.scale * scales).max()) / output.scale
    if error > MAX_TERM_ERROR:
        raise ModelError(
            f"an input scale of {image.scale:g} beside an output scale of {output.scale:g}: constants of "
            f"channels would be rounded by {error:.2g} output steps, allowed: {MAX_TERM_ERROR:g}; "
            "calibrate with data that reaches the output's real range"
        )
    window = Window((1, 1), (1, 1))
    return DepthwiseConv2d(weights, bias.astype(np.int32), scales, window, output, clamp)


def _rounding_of(unit: int, steps: float) -> float:
    """Most output steps that rounding a term to an input step / unit comes to, if that is `steps` of them."""
    return 0.5 * steps / unit


def _table(
    factor: float, term: float, image: TensorType, output: Quantization, clamp: tuple[int, int]
) -> Operator:
    """image * factor + term by a table, exactly."""
    made = Lookup.of(lambda x: x * factor + term, image.quantization, output, "scaled")
    return replace(made, table=np.clip(made.table, *clamp).astype(np.int8))


_UNIT = 64  # the weight that stands for a factor: six bits more than an input step for the constant term
