"""One map's rows out of rows in which several maps stand side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CParams, Int8Array, RowByRow
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType


@dataclass(frozen=True)
class UnpackRow(RowByRow):
    """out[y] = bytes offset .. offset + width * channels of in[y]; its quantization is its own."""

    kernel: ClassVar[str] = "unpack_row_s8"

    offset: int  # bytes
    width: int
    channels: int
    output: Quantization

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        (packed,) = inputs
        stop = self.offset + self.width * self.channels
        if not 0 <= self.offset < stop <= packed.row_bytes:
            raise ModelError(
                f"UnpackRow: bytes {self.offset}..{stop - 1} of a row, allowed: 0..{packed.row_bytes - 1}"
            )
        return TensorType(packed.height, self.width, self.channels, self.output)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        rows = values[0].reshape(inputs[0].height, -1)
        part = rows[:, self.offset : self.offset + self.width * self.channels]
        return part.reshape(-1, self.width, self.channels)

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        return CParams({"offset": self.offset, "bytes": self.width * self.channels})
