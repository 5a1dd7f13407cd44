"""Rows, columns or channels by stored numbers: picked, repeated, in another order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CArray, CParams, Int8Array, Operator, RowWindow, Work
from rnnpool_mcu.ir.tensor_type import TensorType

HEIGHT, WIDTH, CHANNELS = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Gather(Operator):
    """out[i] = in[indices[i]] along one axis: flips, tiles and repeats too; the quantization stays.

    Rows that are not asked for in order, as in a flip, need the whole input.
    """

    kernel: ClassVar[str] = "gather_s8"
    takes_row: ClassVar[bool] = True

    axis: int
    indices: NDArray[np.int32]  # each at least 0

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        (image,) = inputs
        if self.axis not in (HEIGHT, WIDTH, CHANNELS):
            raise ModelError(f"Gather: axis {self.axis}, allowed: 0 (height), 1 (width), 2 (channels)")
        side, asked = image.shape[self.axis], self.indices
        if asked.ndim != 1 or not asked.size or asked.min() < 0 or asked.max() >= side:
            raise ModelError(f"Gather: indices {asked.tolist()[:8]} .., allowed: some of 0..{side - 1}")
        height, width, channels = (
            asked.size if i == self.axis else side for i, side in enumerate(image.shape)
        )
        return TensorType(height, width, channels, image.quantization)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        return np.ascontiguousarray(np.take(values[0], self.indices, axis=self.axis))

    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        if self.axis != HEIGHT:
            return (RowWindow(out_row, out_row + 1),)
        if not self._in_order:
            return (RowWindow(0, inputs[0].height),)
        row = int(self.indices[out_row])
        return (RowWindow(row, row + 1),)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return 0

    def work(self, inputs: Sequence[TensorType]) -> tuple[Work, ...]:
        """Pixels and rows are copied as a whole, channels one by one."""
        (work,) = super().work(inputs)
        name = f"{self.kernel} {'channels' if self.axis == CHANNELS else 'items'}"
        passes = 0 if self.axis == HEIGHT else work.calls * inputs[0].width
        return (replace(work, kernel=name, passes=passes),)

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        (image,) = inputs
        picked = self.indices if self.axis != HEIGHT else np.zeros(1, np.int32)
        by_pixel = self.axis == CHANNELS
        out_of_order = self.axis == HEIGHT and not self._in_order
        return CParams(
            {
                "row_of": CArray("int32_t", self.indices if out_of_order else np.zeros(1, np.int32)),
                "by_number": int(out_of_order),
                "indices": CArray("int32_t", picked),
                "count": int(picked.size),
                "item_bytes": {HEIGHT: image.row_bytes, WIDTH: image.channels, CHANNELS: 1}[self.axis],
                "repeats": image.width if by_pixel else 1,
                "step": image.channels,
            }
        )

    @property
    def _in_order(self) -> bool:
        """Whether no row is asked for after a later one."""
        return bool((np.diff(self.indices) >= 0).all())
