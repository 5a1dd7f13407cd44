"""A map that the program stores, as a value of the graph: position embeddings, masks, parts of a Concat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CArray, CParams, Int8Array, Operator, RowWindow
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType


@dataclass(frozen=True, eq=False)
class Stored(Operator):
    """out[y] = values[y], or values[0] in every row; what the input holds does not matter.

    The input is whatever the map meets later: its rows say when a row of the map is wanted, so that one of
    them is in RAM at a time.
    """

    kernel: ClassVar[str] = "stored_s8"
    takes_row: ClassVar[bool] = True

    values: Int8Array  # [height or 1, width, channels]
    output: Quantization
    height: int

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        shape = self.values.shape
        if len(shape) != 3 or shape[0] not in (1, self.height) or 0 in shape:
            raise ModelError(f"Stored: values {shape}, allowed: [1 or {self.height}, width, channels]")
        return TensorType(self.height, shape[1], shape[2], self.output)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        shape = self.height, *self.values.shape[1:]
        return np.ascontiguousarray(np.broadcast_to(self.values, shape))

    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        row = min(out_row, inputs[0].height - 1)
        return (RowWindow(row, row + 1),)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return 0

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        row_bytes = int(self.values[0].size)
        return CParams(
            {
                "values": CArray("int8_t", self.values),
                "row_step": row_bytes if self.values.shape[0] > 1 else 0,
                "row_bytes": row_bytes,
            }
        )
