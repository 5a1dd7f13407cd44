"""Height, width and channels in another order, by a copy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CParams, Int8Array, Operator, RowWindow
from rnnpool_mcu.ir.tensor_type import TensorType


@dataclass(frozen=True)
class Transpose(Operator):
    """Axis i of the output is axis `axes[i]` of the input (0 height, 1 width, 2 channels).

    Where the height is no longer the first axis, every output row reads the whole input.
    """

    kernel: ClassVar[str] = "transpose_s8"
    takes_row: ClassVar[bool] = True

    axes: tuple[int, int, int]

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        (image,) = inputs
        if sorted(self.axes) != [0, 1, 2]:
            raise ModelError(f"Transpose: axes {self.axes}, allowed: 0, 1 and 2 in any order")
        height, width, channels = (image.shape[axis] for axis in self.axes)
        return TensorType(height, width, channels, image.quantization)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        return np.ascontiguousarray(values[0].transpose(self.axes))

    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        if self.axes[0] == 0:
            return (RowWindow(out_row, out_row + 1),)
        return (RowWindow(0, inputs[0].height),)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return 0

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        out, bytes_of = self.infer_type(inputs), (0, inputs[0].channels, 1)
        rows = [int(axis == 0) for axis in self.axes]
        steps = [bytes_of[axis] for axis in self.axes]
        return CParams(
            {
                "row_step": steps[0],
                "pixel_rows": rows[1],
                "pixel_step": steps[1],
                "channel_rows": rows[2],
                "channel_step": steps[2],
                "width": out.width,
                "channels": out.channels,
            }
        )
