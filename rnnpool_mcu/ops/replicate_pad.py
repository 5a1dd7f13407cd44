"""Padding on the right and at the bottom by repeating the last column and row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CParams, Int8Array, Operator, RowWindow
from rnnpool_mcu.ir.tensor_type import TensorType


@dataclass(frozen=True)
class ReplicatePad(Operator):
    """out[y, x] = in[min(y, height - 1), min(x, width - 1)]."""

    kernel: ClassVar[str] = "replicate_pad_s8"

    bottom: int  # rows added
    right: int  # columns added

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        (image,) = inputs
        if min(self.bottom, self.right) < 0:
            raise ModelError(f"ReplicatePad: bottom {self.bottom}, right {self.right}, allowed: 0 or more")
        return TensorType(
            image.height + self.bottom, image.width + self.right, image.channels, image.quantization
        )

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        return np.pad(values[0], ((0, self.bottom), (0, self.right), (0, 0)), mode="edge")

    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        row = min(out_row, inputs[0].height - 1)
        return (RowWindow(row, row + 1),)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return 0

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        return CParams(
            {"row_bytes": inputs[0].row_bytes, "pixel_bytes": inputs[0].channels, "right": self.right}
        )
