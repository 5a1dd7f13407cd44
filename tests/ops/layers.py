"""Layers with random weights for the kernel tests: small builders around the operators' constructors."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.ir.operator import Int8Array, Operator
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.conv2d import Conv2d
from rnnpool_mcu.ops.convolution import Padding, Window
from rnnpool_mcu.ops.depthwise_conv2d import DepthwiseConv2d
from tests.ops.kernel_harness import KernelCase, random_case

IN_SCALE = 0.02
OUT_SCALE = 0.03
SAME_3X3 = Padding(1, 1, 1, 1)
TYPICAL = 0.0  # a factor that spreads the outputs over about the int8 range


def tensor(height: int, width: int, channels: int, zero_point: int = -3) -> TensorType:
    """An input type at the tests' common scale."""
    return TensorType(height, width, channels, Quantization(IN_SCALE, zero_point))


def _weights_and_bias(
    rng: np.random.Generator, shape: tuple[int, ...], out_channels: int, taps: int, factor: float
) -> tuple[Int8Array, NDArray[np.int32], NDArray[np.float64]]:
    weights = rng.integers(-127, 128, shape, dtype=np.int8)
    bias = rng.integers(-(2**14), 2**14, out_channels).astype(np.int32)
    factor = factor or 1 / (80 * np.sqrt(taps))
    scales = factor * OUT_SCALE / IN_SCALE * rng.uniform(0.3, 1.0, out_channels)
    return weights, bias, scales


def conv(
    image: TensorType,
    out_channels: int,
    window: Window,
    *,
    seed: int = 0,
    factor: float = TYPICAL,
    zero_point: int = 5,
    clamp: tuple[int, int] = (-128, 127),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> Conv2d:
    """A convolution with random weights; `factor` is the largest requantization factor."""
    rng = np.random.default_rng(seed)
    shape = (out_channels, *window.kernel, image.channels // groups)
    weights, bias, scales = _weights_and_bias(rng, shape, out_channels, math.prod(shape[1:]), factor)
    output = Quantization(OUT_SCALE, zero_point)
    return Conv2d(weights, bias, scales, window, output, clamp, dilation, groups)


def depthwise(
    image: TensorType,
    window: Window,
    *,
    seed: int = 0,
    factor: float = TYPICAL,
    zero_point: int = 5,
    clamp: tuple[int, int] = (-128, 127),
    dilation: tuple[int, int] = (1, 1),
    multiplier: int = 1,
) -> DepthwiseConv2d:
    """A depthwise convolution with random weights; `factor` is the largest requantization factor."""
    rng, out_channels = np.random.default_rng(seed), image.channels * multiplier
    shape = (*window.kernel, out_channels)
    weights, bias, scales = _weights_and_bias(rng, shape, out_channels, math.prod(window.kernel), factor)
    output = Quantization(OUT_SCALE, zero_point)
    return DepthwiseConv2d(weights, bias, scales, window, output, clamp, dilation, multiplier)


Layer = TypeVar("Layer", Conv2d, DepthwiseConv2d)


def at_bound(op: Layer, image: TensorType, bound: int = 2**31) -> Layer:
    """The layer with biases that let its accumulators come within one of +-bound, alternating signs."""
    stage = op._stage((image,))
    channels = stage.bias.size
    is_full = isinstance(op, Conv2d)
    by_channel = op.weights.reshape(channels, -1) if is_full else op.weights.reshape(-1, channels).T
    weights = by_channel.astype(np.int64)
    absolute = np.abs(weights).sum(axis=1)
    room = bound - 1 - 128 * absolute
    signs = np.where(np.arange(room.size) % 2, -1, 1)
    bias = signs * room + image.zero_point * weights.sum(axis=1)
    scales = np.full(room.size, 100 / bound) * op.output.scale / image.scale
    return replace(op, bias=np.clip(bias, -(2**31) + 1, 2**31 - 1).astype(np.int32), weight_scales=scales)


def extremes(case: KernelCase) -> list[KernelCase]:
    """The layer on inputs that are all -128, all 127, and a mixture of the two."""
    shape = case.types[0].shape
    mixed = np.random.default_rng(1).choice(np.array([-128, 127], np.int8), shape)
    images = [np.full(shape, -128, np.int8), np.full(shape, 127, np.int8), mixed]
    return [KernelCase(case.op, case.types, (values,)) for values in images]


def small_numbers(op: Layer, image: TensorType) -> KernelCase:
    """The layer with weights, biases and inputs near zero, so that large factors do not saturate."""
    seen = random_case(op, (image,)).values[0] % 4 + image.zero_point
    op = replace(op, weights=op.weights % 4, bias=op.bias % 5)
    return KernelCase(op, (image,), (seen.astype(np.int8),))


def on_random(op: Operator, *types: TensorType, seed: int = 0) -> KernelCase:
    """The operator on random inputs."""
    return random_case(op, types, seed)
