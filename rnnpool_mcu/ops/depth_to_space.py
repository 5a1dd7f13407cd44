"""Channels spread over blocks of pixels, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CParams, Int8Array, Operator, RowWindow
from rnnpool_mcu.ir.tensor_type import TensorType


@dataclass(frozen=True)
class DepthToSpace(Operator):
    """out[y * b + i, x * b + j, c] = in[y, x, (i * b + j) * channels + c], blocks of b x b pixels.

    With `columns_first` (ONNX's CRD) the input's channel is c * b * b + i * b + j.
    """

    kernel: ClassVar[str] = "depth_to_space_s8"
    takes_row: ClassVar[bool] = True

    block: int
    columns_first: bool = False

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        (image,), b = inputs, self.block
        if b < 1 or image.channels % (b * b):
            raise ModelError(
                f"DepthToSpace: block {b} of {image}, allowed: channels that are multiples of b * b"
            )
        channels = image.channels // (b * b)
        return TensorType(image.height * b, image.width * b, channels, image.quantization)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        (image,), b = inputs, self.block
        shape = (image.height, image.width)
        if self.columns_first:
            blocks = values[0].reshape(*shape, -1, b, b).transpose(0, 3, 1, 4, 2)
        else:
            blocks = values[0].reshape(*shape, b, b, -1).transpose(0, 2, 1, 3, 4)
        return np.ascontiguousarray(blocks.reshape(self.infer_type(inputs).shape))

    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        row = out_row // self.block
        return (RowWindow(row, row + 1),)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return 0

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        (image,), b = inputs, self.block
        channels = image.channels // (b * b)
        step, position_step = (b * b, 1) if self.columns_first else (1, channels)
        return CParams(
            {
                "block": b,
                "channels": channels,
                "channel_step": step,
                "position_step": position_step,
                "in_width": image.width,
            }
        )


@dataclass(frozen=True)
class SpaceToDepth(Operator):
    """out[y, x, (i * b + j) * channels + c] = in[y * b + i, x * b + j, c], blocks of b x b pixels."""

    kernel: ClassVar[str] = "space_to_depth_s8"

    block: int

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        (image,), b = inputs, self.block
        if b < 1 or image.height % b or image.width % b:
            raise ModelError(f"SpaceToDepth: block {b} of {image}, allowed: sides that are multiples of it")
        return TensorType(image.height // b, image.width // b, image.channels * b * b, image.quantization)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        out, b = self.infer_type(inputs), self.block
        blocks = values[0].reshape(out.height, b, out.width, b, -1).swapaxes(1, 2)
        return np.ascontiguousarray(blocks.reshape(out.shape))

    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        return (RowWindow(out_row * self.block, (out_row + 1) * self.block),)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return 0

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        (image,) = inputs
        return CParams(
            {
                "block": self.block,
                "row_bytes": self.block * image.channels,
                "out_width": image.width // self.block,
            }
        )
