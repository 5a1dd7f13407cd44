"""A part of a tensor: every so many rows, columns and channels from a beginning on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CParams, Int8Array, Operator, RowWindow
from rnnpool_mcu.ir.tensor_type import TensorType


@dataclass(frozen=True)
class Slice(Operator):
    """out[i] = in[begin + i * step] along each axis; parts of a split are slices."""

    kernel: ClassVar[str] = "slice_s8"

    begin: tuple[int, int, int]  # row, column, channel
    size: tuple[int, int, int]  # of the output
    step: tuple[int, int, int] = (1, 1, 1)

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        (image,) = inputs
        axes = zip(self.begin, self.size, self.step, image.shape, strict=True)
        if not all(b >= 0 and n >= 1 and s >= 1 and b + (n - 1) * s < limit for b, n, s, limit in axes):
            raise ModelError(
                f"Slice: begin {self.begin}, size {self.size}, step {self.step} of {image}, allowed: "
                "inside it, steps of 1 or more"
            )
        return TensorType(*self.size, image.quantization)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        axes = zip(self.begin, self.size, self.step, strict=True)
        cut = tuple(slice(b, b + (n - 1) * s + 1, s) for b, n, s in axes)
        return np.ascontiguousarray(values[0][cut])

    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        row = self.begin[0] + out_row * self.step[0]
        return (RowWindow(row, row + 1),)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return 0

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        (image,) = inputs
        whole_pixels = self.step[1:] == (1, 1) and self.size[2] == image.channels
        return CParams(
            {
                "skip": self.begin[1] * image.channels + self.begin[2],
                "pixel_step": self.step[1] * image.channels,
                "channel_step": self.step[2],
                "width": 1 if whole_pixels else self.size[1],
                "channels": self.size[1] * self.size[2] if whole_pixels else self.size[2],
            }
        )
