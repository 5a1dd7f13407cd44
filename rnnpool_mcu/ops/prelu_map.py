"""PReLU whose slopes are a tensor of their own: one of every value, of every column, or computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CParams, Int8Array, Operator, RowWindow
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.numerics.fixed_point import Requantization, quantize_multipliers, requantize
from rnnpool_mcu.ops.mul import MAX_LEFT_SHIFT, broadcast_shape


@dataclass(frozen=True)
class PReluMap(Operator):
    """out = requantize(in - zero_point), times the second input's slope where that is negative.

    Slopes are at a scale and zero point of their own; their sides of 1 are repeated.
    """

    kernel: ClassVar[str] = "prelu_map_s8"

    output: Quantization

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        image, _ = inputs
        if broadcast_shape("PReluMap", inputs) != image.shape:
            raise ModelError(f"PReluMap: slopes {inputs[1]} for {image}, allowed: its sides, or 1")
        return TensorType(*image.shape, self.output)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        above, below = self._requantizations(inputs)
        x, slopes = (v.astype(np.int64) - t.zero_point for t, v in zip(inputs, values, strict=True))
        zero_point = self.output.zero_point
        kept = requantize(x << above.left_shift, above.multipliers[0], above.shift, zero_point, -128, 127)
        scaled = (x * slopes) << below.left_shift
        sloped = requantize(scaled, below.multipliers[0], below.shift, zero_point, -128, 127)
        return np.where(x < 0, sloped, kept)

    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        rows = (out_row if t.height > 1 else 0 for t in inputs)
        return tuple(RowWindow(row, row + 1) for row in rows)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return inputs[0].bytes

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        image, slopes = inputs
        above, below = self._requantizations(inputs)
        return CParams(
            {
                "above": int(above.multipliers[0]),
                "above_left_shift": above.left_shift,
                "above_shift": above.shift,
                "below": int(below.multipliers[0]),
                "below_left_shift": below.left_shift,
                "below_shift": below.shift,
                "in_zero_point": image.zero_point,
                "slope_zero_point": slopes.zero_point,
                "out_zero_point": self.output.zero_point,
                "slope_pixel_step": slopes.channels if slopes.width > 1 else 0,
                "slope_step": int(slopes.channels > 1),
                "width": image.width,
                "channels": image.channels,
            }
        )

    def _requantizations(self, inputs: Sequence[TensorType]) -> tuple[Requantization, Requantization]:
        """Of values above zero, and of products with slopes."""
        image, slopes = inputs
        factors = image.scale / self.output.scale, image.scale * slopes.scale / self.output.scale
        try:
            above, below = (quantize_multipliers(np.array([factor])) for factor in factors)
        except ValueError as error:
            raise ModelError(f"PReluMap: {error}; use a larger output scale") from error
        if max(above.left_shift, below.left_shift) > MAX_LEFT_SHIFT:
            raise ModelError(
                f"PReluMap: requantization factor {max(factors):g}, allowed: < 8192; use a larger output "
                "scale"
            )
        return above, below
