"""Product of two tensors; sizes of 1 are repeated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CParams, Int8Array, Operator, RowWindow
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.numerics.fixed_point import Requantization, quantize_multipliers, requantize

MAX_LEFT_SHIFT = 15  # 255 * 255 shifted so stays in 32 bits


@dataclass(frozen=True)
class Mul(Operator):
    """out = requantize((a - za) * (b - zb)); an axis on which one operand has size 1 takes it everywhere."""

    kernel: ClassVar[str] = "mul_s8"

    output: Quantization
    clamp: tuple[int, int] = (-128, 127)  # of the quantized output: a fused activation

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        return TensorType(*broadcast_shape("Mul", inputs), self.output)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        r = self._requantization(inputs)
        a, b = (v.astype(np.int64) - t.zero_point for t, v in zip(inputs, values, strict=True))
        acc = (a * b) << r.left_shift
        return requantize(acc, int(r.multipliers[0]), r.shift, self.output.zero_point, *self.clamp)

    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        tall = max(t.height for t in inputs) > 1
        rows = [out_row if tall and t.height > 1 else 0 for t in inputs]
        return tuple(RowWindow(row, row + 1) for row in rows)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return self.infer_type(inputs).bytes

    def variants(self) -> tuple[str, ...]:
        return ("m4",)

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        out, r = self.infer_type(inputs), self._requantization(inputs)
        # A step is 0 only where the output has more: in a map of one channel, pixels are one byte apart.
        steps = [
            (0 if t.width < out.width else t.channels, 0 if t.channels < out.channels else 1) for t in inputs
        ]
        return CParams(
            {
                "multiplier": int(r.multipliers[0]),
                "left_shift": r.left_shift,
                "shift": r.shift,
                "zero_point_a": inputs[0].zero_point,
                "zero_point_b": inputs[1].zero_point,
                "out_zero_point": self.output.zero_point,
                "low": self.clamp[0],
                "high": self.clamp[1],
                "pixel_step_a": steps[0][0],
                "pixel_step_b": steps[1][0],
                "step_a": steps[0][1],
                "step_b": steps[1][1],
                "width": out.width,
                "channels": out.channels,
            }
        )

    def _requantization(self, inputs: Sequence[TensorType]) -> Requantization:
        factor = inputs[0].scale * inputs[1].scale / self.output.scale
        try:
            found = quantize_multipliers(np.array([factor]))
        except ValueError as error:
            raise ModelError(f"Mul: {error}; use a larger output scale") from error
        if found.left_shift > MAX_LEFT_SHIFT:
            raise ModelError(
                f"Mul: requantization factor {factor:g}, allowed: < 8192; use a larger output scale"
            )
        return found


def broadcast_shape(name: str, inputs: Sequence[TensorType]) -> tuple[int, int, int]:
    """The shape that all inputs become when sizes of 1 are repeated; ModelError where there is none."""
    sizes = [{size for size in axis if size > 1} for axis in zip(*(t.shape for t in inputs), strict=True)]
    if any(len(found) > 1 for found in sizes):
        shapes = " and ".join(map(str, inputs))
        raise ModelError(f"{name}: shapes {shapes}, allowed: the same, or size 1 where they differ")
    height, width, channels = (max(found, default=1) for found in sizes)
    return height, width, channels
