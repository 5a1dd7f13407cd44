"""Sum of two tensors of the same shape, each with a scale of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CParams, Int8Array, Operator, RowWindow
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType

MULTIPLIER_BITS = 21  # two products with 9-bit differences, and the output's zero point, stay in 32 bits
MAX_SHIFT = 20


@dataclass(frozen=True)
class AddFactors:
    """Fixed-point input scales over the output scale: real factor = multiplier / 2**shift."""

    multipliers: tuple[int, int]  # each at most 2**MULTIPLIER_BITS, negative where it is subtracted
    shift: int  # 1..MAX_SHIFT
    offset: int  # zero points of both inputs and of the output, and the half for rounding


@dataclass(frozen=True)
class WeightedSum(Operator):
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

    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        return tuple(RowWindow(out_row, out_row + 1) for _ in inputs)

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
        """Multipliers, shift and offset; ModelError when an input scale is 2**18 output scales or more."""
        real = [t.scale / self.output.scale for t in inputs]
        exponent = int(np.frexp(max(real))[1])  # max(real) < 2**exponent
        shift = min(MAX_SHIFT, MULTIPLIER_BITS - exponent)
        if shift < 3:
            raise ModelError(
                f"{type(self).__name__}: an input's scale is {max(real):g} times the output's, allowed: "
                "< 2^18; calibrate with images that reach the sum's real range"
            )
        rounded = (int(np.floor(r * 2.0**shift + 0.5)) for r in real)
        a, b = (sign * factor for sign, factor in zip(self.signs, rounded, strict=True))
        offset = (self.output.zero_point << shift) + (1 << (shift - 1))
        offset -= inputs[0].zero_point * a + inputs[1].zero_point * b
        return AddFactors((a, b), shift, offset)


@dataclass(frozen=True)
class Add(WeightedSum):
    """out = clamp(((a - za) * ma + (b - zb) * mb + 2**(shift - 1)) >> shift + z): one rounding, half up."""

    signs: ClassVar[tuple[int, int]] = (1, 1)
