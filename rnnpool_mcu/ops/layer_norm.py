"""Layer normalization (Ba et al., 2016): each pixel's channels to mean 0 and variance 1, then scaled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CArray, CParams, Int8Array, RowByRow
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.numerics.roots import isqrt

MAX_CHANNELS = 65536  # a normalized value is at most the root of that: 2**8
UNIT_BITS = 22  # fraction of a normalized value, which so fits 31 bits
BIAS_BITS = 16  # fraction of a bias in output steps
MAX_SHIFT = 44  # a bias of 2**15 steps stays below 2**60
EPSILON_LIMIT = 2**60


@dataclass(frozen=True, eq=False)
class LayerNorm(RowByRow):
    """out[c] = (in[c] - mean) / sqrt(variance + epsilon) * gain[c] + bias[c] over each pixel's n channels.

    With q the input's integers, whose zero point cancels, all in 64 bits and rounded once, at the end:

        v   = n * sum of q**2 - (sum of q)**2 + n**2 * epsilon / scale**2     below 2**62
        h   with 2**30 <= v / 4**h < 2**32,  m = isqrt(v / 4**h),  r = 2**31 // m;  r = 0 where v = 0
        z   = floor((n * q[c] - sum of q) * r / 2**(9 + h))                   the normalized value, Q22
        out = clamp(((z * multiplier[c] + bias[c] * 2**(shift - 16) + 2**(shift - 1)) >> shift) + zero point)
    """

    kernel: ClassVar[str] = "layer_norm_s8"

    gain: NDArray[np.float64]  # [channels]
    bias: NDArray[np.float64]  # [channels]
    epsilon: float
    output: Quantization

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        (image,) = inputs
        if self.gain.shape != (image.channels,) or self.bias.shape != self.gain.shape:
            raise ModelError(
                f"LayerNorm: {image}, {self.gain.size} gains, {self.bias.size} biases, allowed: one a channel"
            )
        if image.channels > MAX_CHANNELS:
            raise ModelError(f"LayerNorm: over {image.channels} values, supported: 1..{MAX_CHANNELS}")
        limits = (np.abs(self.gain) / self.output.scale).max(), (np.abs(self.bias) / self.output.scale).max()
        if not (np.isfinite(limits).all() and limits[0] < 2.0**14 and limits[1] < 2.0**15):
            raise ModelError(
                f"LayerNorm: gain and bias reach {limits[0]:g} and {limits[1]:g} output steps, allowed: "
                "below 16384 and 32768; calibrate the output's range"
            )
        if not (np.isfinite(self.epsilon) and 0 <= self._epsilon(image) < EPSILON_LIMIT):
            raise ModelError(f"LayerNorm: epsilon {self.epsilon:g} at {image.scale:g}, allowed: 0 and small")
        return TensorType(*image.shape, self.output)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        (image,), q = inputs, values[0].astype(np.int64)
        sums = q.sum(axis=2, keepdims=True)
        spread = image.channels * (q * q).sum(axis=2, keepdims=True) - sums * sums + int(self._epsilon(image))
        halves, reciprocals = _inverse_roots(spread)
        product = (image.channels * q - sums) * reciprocals
        down = 31 - UNIT_BITS + halves
        z = np.where(down >= 0, product >> np.maximum(down, 0), product << np.maximum(-down, 0))
        multipliers, biases, shift = self._integers()
        acc = z * multipliers + (biases << (shift - BIAS_BITS)) + (1 << (shift - 1))
        found: Int8Array = np.clip((acc >> shift) + self.output.zero_point, -128, 127).astype(np.int8)
        return found

    def macs(self, inputs: Sequence[TensorType]) -> int:
        """One for the square, two for the scaling of each element."""
        return 3 * inputs[0].bytes

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        (image,) = inputs
        multipliers, biases, shift = self._integers()
        epsilon = int(self._epsilon(image))
        words = np.array([epsilon & 0xFFFFFFFF, epsilon >> 32], np.uint32)
        return CParams(
            {
                "multipliers": CArray("int32_t", multipliers.astype(np.int32)),
                "biases": CArray("int32_t", biases.astype(np.int32)),
                "epsilon": CArray("uint32_t", words),
                "shift": shift,
                "out_zero_point": self.output.zero_point,
                "width": image.width,
                "channels": image.channels,
            }
        )

    def _epsilon(self, image: TensorType) -> float:
        """In squared steps of the input, times the square of the number of channels; a whole number."""
        return float(np.floor(self.epsilon / image.scale**2 * image.channels**2 + 0.5))

    def _integers(self) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
        """Multipliers and biases of the channels, and the shift."""
        gain = self.gain / self.output.scale
        shift = min(MAX_SHIFT, UNIT_BITS + 31 - int(np.frexp(np.abs(gain).max())[1]))
        multipliers = np.floor(gain * 2.0 ** (shift - UNIT_BITS) + 0.5).clip(1 - 2.0**31, 2.0**31 - 1)
        biases = np.floor(self.bias / self.output.scale * 2.0**BIAS_BITS + 0.5).clip(-(2.0**31), 2.0**31 - 1)
        return multipliers.astype(np.int64), biases.astype(np.int64), shift


def _inverse_roots(spread: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """h and r of the definition, for each value."""
    bits = np.zeros_like(spread)
    for step in (32, 16, 8, 4, 2, 1):  # of the bit length: float64 would round the longest ones up
        longer = spread >> (bits + step - 1) >> 1 != 0
        bits += step * longer
    bits += spread != 0
    halves = (bits - 31) >> 1
    scaled = np.where(
        halves >= 0, spread >> (2 * np.maximum(halves, 0)), spread << (2 * np.maximum(-halves, 0))
    )
    roots = isqrt(np.where(spread == 0, 1 << 30, scaled))
    return np.where(spread == 0, 0, halves), np.where(spread == 0, 0, (1 << 31) // roots)
