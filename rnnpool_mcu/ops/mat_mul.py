"""Product of two computed matrices, one pair in each row: attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CParams, Int8Array, Operator, RowWindow
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.numerics.fixed_point import Requantization, quantize_multipliers, requantize


@dataclass(frozen=True)
class MatMul(Operator):
    """out[y] = requantize((a[y] - za) @ (b[y] - zb)): rows are matrices [width, channels], one b for all too.

    With `transposed` b[y] is [columns, depth] instead of [depth, columns].
    """

    kernel: ClassVar[str] = "mat_mul_s8"

    output: Quantization
    transposed: bool = False

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        a, b = inputs
        depth, columns = (b.channels, b.width) if self.transposed else (b.width, b.channels)
        if a.channels != depth or b.height not in (1, a.height):
            raise ModelError(
                f"MatMul: {a} times {b}{' transposed' if self.transposed else ''}, allowed: as many channels "
                "of the first as rows of the second matrix, and as many matrices, or one for all"
            )
        self._requantization(inputs)
        return TensorType(a.height, a.width, columns, self.output)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        r = self._requantization(inputs)
        a, b = (v.astype(np.int64) - t.zero_point for t, v in zip(inputs, values, strict=True))
        acc = (a @ (b.swapaxes(1, 2) if self.transposed else b)) << r.left_shift
        return requantize(acc, int(r.multipliers[0]), r.shift, self.output.zero_point, -128, 127)

    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        return tuple(RowWindow(row, row + 1) for row in (out_row if t.height > 1 else 0 for t in inputs))

    def macs(self, inputs: Sequence[TensorType]) -> int:
        out = self.infer_type(inputs)
        return out.bytes * inputs[0].channels

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        a, b = inputs
        out, r = self.infer_type(inputs), self._requantization(inputs)
        return CParams(
            {
                "multiplier": int(r.multipliers[0]),
                "left_shift": r.left_shift,
                "shift": r.shift,
                "zero_point_a": a.zero_point,
                "zero_point_b": b.zero_point,
                "out_zero_point": self.output.zero_point,
                "rows": a.width,
                "depth": a.channels,
                "columns": out.channels,
                "depth_step": 1 if self.transposed else b.channels,
                "column_step": b.channels if self.transposed else 1,
            }
        )

    def _requantization(self, inputs: Sequence[TensorType]) -> Requantization:
        factor = inputs[0].scale * inputs[1].scale / self.output.scale
        try:
            found = quantize_multipliers(np.array([factor]))
        except ValueError as error:
            raise ModelError(f"MatMul: {error}; use a larger output scale") from error
        if (255 * 255 * inputs[0].channels) << found.left_shift >= 2**31:
            raise ModelError(
                f"MatMul: sums of {inputs[0].channels} products, shifted left by {found.left_shift}, leave "
                "32 bits; use a larger output scale"
            )
        return found
