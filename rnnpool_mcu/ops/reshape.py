"""The same values in another shape: rows are cut anew, and copied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CParams, Int8Array, Operator, RowWindow
from rnnpool_mcu.ir.tensor_type import TensorType


@dataclass(frozen=True)
class Reshape(Operator):
    """out = in in its order of height, width, channels.

    A fully connected layer takes any shape as it is, and needs none.
    """

    kernel: ClassVar[str] = "reshape_s8"
    takes_row: ClassVar[bool] = True

    shape: tuple[int, int, int]  # height, width, channels

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        (image,) = inputs
        height, width, channels = self.shape
        if min(self.shape) < 1 or height * width * channels != image.bytes:
            raise ModelError(
                f"Reshape: {image} to {height}x{width}x{channels}, allowed: as many values, {image.bytes}"
            )
        return TensorType(height, width, channels, image.quantization)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        return values[0].reshape(self.shape)

    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        (image,) = inputs
        rows = self._rows(image)
        first = min(out_row * self._row_bytes // image.row_bytes, image.height - rows)
        return (RowWindow(first, first + rows),)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return 0

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        (image,) = inputs
        return CParams(
            {
                "in_row_bytes": image.row_bytes,
                "out_row_bytes": self._row_bytes,
                "last_first": image.height - self._rows(image),
            }
        )

    @property
    def _row_bytes(self) -> int:
        return self.shape[1] * self.shape[2]

    def _rows(self, image: TensorType) -> int:
        """Most input rows that an output row has bytes of."""
        size, given = self._row_bytes, image.row_bytes
        starts = (row * size for row in range(self.shape[0]))
        return max((start + size - 1) // given - start // given + 1 for start in starts)
