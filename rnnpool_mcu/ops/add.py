"""Sum of two tensors of the same shape, each with a scale of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CParams, Int8Array, RowByRow
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType

MULTIPLIER_BITS = 21  # two products with 9-bit differences, and the output's zero point, stay in 32 bits
MAX_SHIFT = 20
LEVELS = 255  # between the least and the largest int8
MAX_ERROR = 0.25  # output steps, of both multipliers' rounding, beside the half step of the result's own


@dataclass(frozen=True)
class AddFactors:
    """Fixed-point input scales over the output scale: real factor = multiplier / 2**shift."""

    multipliers: tuple[int, int]  # each at most 2**MULTIPLIER_BITS, negative where it is subtracted
    shift: int  # 1..MAX_SHIFT
    offset: int  # zero points of both inputs and of the output, and the half for rounding


@dataclass(frozen=True)
class WeightedSum(RowByRow):
    """Sum of two tensors times the factors that a subclass's `signs` gives their scales."""

    kernel: ClassVar[str] = "add_s8"

    signs: ClassVar[tuple[int, int]]

    output: Quantization
    clamp: tuple[int, int] = (-128, 127)  # of the quantized output: a fused activation

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        a, b = inputs
        if a.shape != b.shape:
            name = type(self).__name__
            raise ModelError(
                f"{name}: shapes {a} and {b}, allowed: the same; repeat the smaller one by Broadcast"
            )
        return TensorType(*a.shape, self.output)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        factors = self.factors(inputs)
        a, b = (v.astype(np.int32) * m for v, m in zip(values, factors.multipliers, strict=True))
        scaled = (a + b + factors.offset) >> factors.shift
        clamped: Int8Array = np.clip(scaled, *self.clamp).astype(np.int8)
        return clamped

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return 2 * inputs[0].bytes

    def variants(self) -> tuple[str, ...]:
        return ("m4",)

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        factors = self.factors(inputs)
        return CParams(
            {
                "multiplier_a": factors.multipliers[0],
                "multiplier_b": factors.multipliers[1],
                "offset": factors.offset,
                "shift": factors.shift,
                "low": self.clamp[0],
                "high": self.clamp[1],
                "elements": inputs[0].row_bytes,
            }
        )

    def factors(self, inputs: Sequence[TensorType]) -> AddFactors:
        """Multipliers, shift and offset; ModelError where rounding the multipliers would show.

        An operand each step of which is more than the other's whole range and the output's gives an end of
        the output's range; a smaller factor beyond both does too, and leaves the other its bits.
        """
        given = [t.scale / self.output.scale for t in inputs]
        real = [min(r, LEVELS * other + LEVELS + 2) for r, other in zip(given, given[::-1], strict=True)]
        exponent = int(np.frexp(max(real))[1])  # max(real) < 2**exponent
        shift = min(MAX_SHIFT, MULTIPLIER_BITS - exponent)
        if shift < 3:
            raise ModelError(
                f"{type(self).__name__}: an input's scale is {max(given):g} times the output's, allowed: "
                "< 2^18; calibrate with images that reach the sum's real range"
            )
        rounded = [int(np.floor(r * 2.0**shift + 0.5)) for r in real]
        error = self._rounding(real, rounded, shift)
        if error > MAX_ERROR:
            raise ModelError(
                f"{type(self).__name__}: the inputs' scales are {given[0]:g} and {given[1]:g} times the "
                f"output's, rounding them comes to {error:.2g} output steps, allowed: {MAX_ERROR:g}, which "
                "factors below 2048 keep; calibrate with images that reach the sum's real range"
            )
        a, b = (sign * factor for sign, factor in zip(self.signs, rounded, strict=True))
        offset = (self.output.zero_point << shift) + (1 << (shift - 1))
        offset -= inputs[0].zero_point * a + inputs[1].zero_point * b
        return AddFactors((a, b), shift, offset)

    @staticmethod
    def _rounding(real: Sequence[float], rounded: Sequence[int], shift: int) -> float:
        """Most output steps by which multipliers' rounding changes a sum inside the output's range."""
        others = (LEVELS * (1 + other) / r for r, other in zip(real, real[::-1], strict=True))
        reach = (min(LEVELS, steps) for steps in others)  # of the operands from their zero points
        errors = (abs(m * 2.0**-shift - r) for m, r in zip(rounded, real, strict=True))
        return sum(steps * error for steps, error in zip(reach, errors, strict=True))


@dataclass(frozen=True)
class Add(WeightedSum):
    """out = clamp(((a - za) * ma + (b - zb) * mb + 2**(shift - 1)) >> shift + z): one rounding, half up."""

    signs: ClassVar[tuple[int, int]] = (1, 1)
