"""Axes of size 1 repeated, for operators whose inputs must have one shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CParams, Int8Array, Operator, RowWindow
from rnnpool_mcu.ir.tensor_type import TensorType


@dataclass(frozen=True)
class Broadcast(Operator):
    """out[y, x, c] = in[y or 0, x or 0, c or 0]: 0 on every axis on which the input has size 1."""

    kernel: ClassVar[str] = "broadcast_s8"

    shape: tuple[int, int, int]  # height, width, channels

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        (image,) = inputs
        if any(a not in (1, b) or b < 1 for a, b in zip(image.shape, self.shape, strict=True)):
            raise ModelError(
                f"Broadcast: {image} to {'x'.join(map(str, self.shape))}, allowed: other sizes where it has 1"
            )
        return TensorType(*self.shape, image.quantization)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        return np.ascontiguousarray(np.broadcast_to(values[0], self.shape))

    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        row = out_row if inputs[0].height > 1 else 0
        return (RowWindow(row, row + 1),)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return 0

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        (image,) = inputs
        return CParams(
            {
                "pixel_step": image.channels if image.width > 1 else 0,
                "is_one_channel": int(image.channels == 1),
                "width": self.shape[1],
                "channels": self.shape[2],
            }
        )
