"""Local response normalisation over neighbouring channels, in integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CArray, CParams, Int8Array, RowByRow
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType

BIN_BITS = 4  # an octave of sums is 2**BIN_BITS bins, between whose ends factors are interpolated
WEIGHT_BITS = 12
FACTOR_BITS = 22  # a factor and a difference of two int8 stay in 32 bits
MAX_SHIFT = 31
MAX_SIZE = 2**14  # channels: their squares' sum stays in 31 bits


@dataclass(frozen=True)
class Lrn(RowByRow):
    """out[c] = x[c] * (bias + alpha * sum of squares of x[c - before .. c + after])**-beta, x real inputs.

    The power is a table over the integer sum of squares: its bins grow with the sum, 16 to an octave, and the
    factor is interpolated between their ends.
    """

    kernel: ClassVar[str] = "lrn_s8"

    before: int  # channels
    after: int
    alpha: float  # of each square; ONNX and torch divide theirs by the number of channels first
    beta: float
    bias: float
    output: Quantization

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        (image,) = inputs
        size = self.before + 1 + self.after
        if min(self.before, self.after) < 0 or size > MAX_SIZE:
            raise ModelError(
                f"Lrn: {self.before} channels before, {self.after} behind, allowed: 0 or more each"
            )
        values = (self.alpha, self.beta, self.bias)
        if not (np.isfinite(values).all() and self.alpha >= 0 and self.beta >= 0 and self.bias > 0):
            raise ModelError(f"Lrn: alpha, beta, bias {values}, allowed: alpha, beta >= 0, bias > 0")
        factor = self._real_factor(image, np.zeros(1))[0]
        if not 2.0**-8 <= factor < 2.0**20:
            raise ModelError(
                f"Lrn: factor {factor:g} of small values, allowed: 2^-8..2^20; calibrate the output's range"
            )
        return TensorType(*image.shape, self.output)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        (image,) = inputs
        q = values[0].astype(np.int64) - image.zero_point
        padded = np.pad(q * q, ((0, 0), (0, 0), (self.before, self.after)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.before + 1 + self.after, axis=2)
        sums = windows.sum(axis=3)
        bins, weights = _bin(sums)
        table, shift = self._table(image)
        ends = table.astype(np.int64)
        factors = ends[bins] - (((ends[bins] - ends[bins + 1]) * weights) >> WEIGHT_BITS)
        out = ((q * factors + (1 << (shift - 1))) >> shift) + self.output.zero_point
        clipped: Int8Array = np.clip(out, -128, 127).astype(np.int8)
        return clipped

    def macs(self, inputs: Sequence[TensorType]) -> int:
        """One for the square, one for the scaling of each element."""
        return 2 * inputs[0].bytes

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        (image,) = inputs
        table, shift = self._table(image)
        return CParams(
            {
                "factors": CArray("int32_t", table),
                "shift": shift,
                "before": self.before,
                "after": self.after,
                "in_zero_point": image.zero_point,
                "out_zero_point": self.output.zero_point,
                "width": image.width,
                "channels": image.channels,
            }
        )

    def _real_factor(self, image: TensorType, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """From a centred input to output steps, by sum of squares."""
        with np.errstate(invalid="ignore"):  # of a scale without a finite square: no number, and refused
            norm = self.bias + self.alpha * (image.scale * image.scale) * sums
        factors: NDArray[np.float64] = norm**-self.beta * (image.scale / self.output.scale)
        return factors

    def _table(self, image: TensorType) -> tuple[NDArray[np.int32], int]:
        """Factors at the bins' ends, and their shift."""
        size = min(self.before + 1 + self.after, image.channels)
        last = int(_bin(np.array([size * 255 * 255]))[0][0])
        real = self._real_factor(image, _bin_starts(last + 2))
        shift = min(MAX_SHIFT - 1, FACTOR_BITS - int(np.frexp(real[0])[1]))
        return np.floor(real * 2.0**shift + 0.5).astype(np.int32), shift


def _bin(sums: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Bin of each sum, and how far in it the sum lies, in 1 / 2**WEIGHT_BITS.

    Sums below 2**BIN_BITS are bins of their own; above, the bits behind the highest one count in an octave.
    """
    length = np.frexp(np.maximum(sums, 1).astype(np.float64))[1].astype(np.int64)  # bits
    drop = np.maximum(length - 1 - BIN_BITS, 0)
    within = sums - ((sums >> drop) << drop)
    return (drop << BIN_BITS) + (sums >> drop), (within << WEIGHT_BITS) >> drop


def _bin_starts(count: int) -> NDArray[np.float64]:
    """The least sum of each of the first bins."""
    index = np.arange(count)
    drop = np.maximum(index // 2**BIN_BITS - 1, 0)
    starts: NDArray[np.float64] = np.ldexp((index - (drop << BIN_BITS)).astype(np.float64), drop)
    return starts
