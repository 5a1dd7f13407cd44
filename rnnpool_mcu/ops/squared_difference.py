"""Square of the difference of two tensors: the variance of layer normalization."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CParams, Int8Array, Operator, RowWindow
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.numerics.fixed_point import Requantization, quantize_multipliers, requantize
from rnnpool_mcu.ops.mul import broadcast_shape

DIFFERENCE_BITS = 15  # of a difference, so that its square stays in 30
SHIFT = 14  # fraction of an operand's factor


@dataclass(frozen=True)
class SquaredDifference(Operator):
    """out = requantize(d * d), d = (a - za) * sa - (b - zb) * sb in 16 bits; a side of 1 is repeated."""

    kernel: ClassVar[str] = "squared_difference_s8"

    output: Quantization
    clamp: tuple[int, int] = (-128, 127)  # of the quantized output: a fused activation

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        self._requantization(inputs)
        return TensorType(*broadcast_shape("SquaredDifference", inputs), self.output)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        r = self._requantization(inputs)
        a, b = (
            (v.astype(np.int64) - t.zero_point) * factor
            for t, v, factor in zip(inputs, values, self._factors(inputs), strict=True)
        )
        difference = (a - b + (1 << (SHIFT - 1))) >> SHIFT
        square = difference * difference
        return requantize(square, int(r.multipliers[0]), r.shift, self.output.zero_point, *self.clamp)

    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        rows = (out_row if t.height > 1 else 0 for t in inputs)
        return tuple(RowWindow(row, row + 1) for row in rows)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return self.infer_type(inputs).bytes

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        (a, b), out, r = inputs, self.infer_type(inputs), self._requantization(inputs)
        factors = self._factors(inputs)
        return CParams(
            {
                "factor_a": factors[0],
                "factor_b": factors[1],
                "zero_point_a": a.zero_point,
                "zero_point_b": b.zero_point,
                "multiplier": int(r.multipliers[0]),
                "shift": r.shift,
                "out_zero_point": self.output.zero_point,
                "low": self.clamp[0],
                "high": self.clamp[1],
                "pixel_step_a": a.channels if a.width > 1 else 0,
                "pixel_step_b": b.channels if b.width > 1 else 0,
                "step_a": int(a.channels > 1),
                "step_b": int(b.channels > 1),
                "width": out.width,
                "channels": out.channels,
            }
        )

    @staticmethod
    def _unit(inputs: Sequence[TensorType]) -> float:
        """Real value of a difference of 1: the largest difference has DIFFERENCE_BITS."""
        return 255 * sum(t.scale for t in inputs) / (2.0**DIFFERENCE_BITS - 2)

    def _factors(self, inputs: Sequence[TensorType]) -> tuple[int, int]:
        """Units of a step of each operand, with SHIFT bits of fraction."""
        a, b = (int(np.floor(t.scale / self._unit(inputs) * 2.0**SHIFT + 0.5)) for t in inputs)
        return a, b

    def _requantization(self, inputs: Sequence[TensorType]) -> Requantization:
        factor = self._unit(inputs) ** 2 / self.output.scale
        try:
            found = quantize_multipliers(np.array([factor]))
        except ValueError as error:
            raise ModelError(f"SquaredDifference: {error}; use a larger output scale") from error
        if found.left_shift:
            raise ModelError(
                f"SquaredDifference: output scale {self.output.scale:g}, allowed: more than "
                f"{4 * self._unit(inputs) ** 2:g}; calibrate with data that reaches the real range"
            )
        return found
