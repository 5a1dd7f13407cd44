"""Tensors joined along one axis, each with a quantization of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CArray, CParams, Int8Array, Operator, RowWindow
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.lookup import requantize, stored_table

HEIGHT, WIDTH, CHANNELS = 0, 1, 2
AS_IS = -1  # in the place of a table's number


@dataclass(frozen=True, eq=False)
class Concat(Operator):
    """The inputs one behind the other; those of another quantization than the output's by a table each.

    Tables may be given, and then hold any function of an input.
    """

    kernel: ClassVar[str] = "concat_s8"
    takes_row: ClassVar[bool] = True

    output: Quantization
    axis: int = CHANNELS
    tables: tuple[
        Int8Array | None, ...
    ] = ()  # [256] of each input, from -128 upwards; None: as its scale has it

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        if self.axis not in (HEIGHT, WIDTH, CHANNELS):
            raise ModelError(f"Concat: axis {self.axis}, allowed: 0 (height), 1 (width), 2 (channels)")
        if not inputs:
            raise ModelError("Concat: no inputs, allowed: 1 or more")
        if self.tables and len(self.tables) != len(inputs):
            raise ModelError(f"Concat: {len(self.tables)} tables, {len(inputs)} inputs, allowed: one of each")
        shape = list(inputs[0].shape)
        for other in inputs[1:]:
            if any(a != b for i, (a, b) in enumerate(zip(shape, other.shape, strict=True)) if i != self.axis):
                raise ModelError(
                    f"Concat: {inputs[0]} and {other}, allowed: sizes that differ along axis {self.axis} only"
                )
        shape[self.axis] = sum(t.shape[self.axis] for t in inputs)
        height, width, channels = shape
        return TensorType(height, width, channels, self.output)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        parts = []
        for i, (tensor, value) in enumerate(zip(inputs, values, strict=True)):
            table = self.table(i, tensor)
            parts.append(value if table is None else table[value.astype(np.int32) + 128])
        return np.concatenate(parts, axis=self.axis)

    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        if self.axis != HEIGHT:
            return tuple(RowWindow(out_row, out_row + 1) for _ in inputs)
        rows = [
            min(max(out_row - start, 0), t.height - 1)
            for t, start in zip(inputs, self._starts(inputs), strict=False)
        ]
        return tuple(RowWindow(row, row + 1) for row in rows)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return 0

    def variants(self) -> tuple[str, ...]:
        return ("m4",)

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        needed = [self.table(i, t) for i, t in enumerate(inputs)]
        stored = {table.tobytes(): stored_table(table) for table in needed if table is not None}
        tables, numbers = [*stored.values()] or [np.zeros(1, np.int8)], list(stored)
        table_of = [AS_IS if table is None else numbers.index(table.tobytes()) for table in needed]
        by_pixel = self.axis == CHANNELS
        sizes = [t.channels if by_pixel else t.row_bytes for t in inputs]
        return CParams(
            {
                "tables": CArray("int8_t", np.concatenate(tables)),
                "table_of": CArray("int32_t", np.array(table_of, np.int32)),
                "sizes": CArray("int32_t", np.array(sizes, np.int32)),
                "starts": CArray("int32_t", np.array(self._starts(inputs), np.int32)),
                "inputs": len(inputs),
                "repeats": inputs[0].width if by_pixel else 1,
                "along_height": int(self.axis == HEIGHT),
            }
        )

    def table(self, index: int, tensor: TensorType) -> Int8Array | None:
        """What an input's values become, from -128 upwards; None where they stay."""
        given = self.tables[index] if self.tables else None
        if given is not None or tensor.quantization == self.output:
            return given
        return requantize(tensor.quantization, self.output).table

    def _starts(self, inputs: Sequence[TensorType]) -> list[int]:
        """Where each input begins along the axis, then the whole size; bytes of the row along the width."""
        lengths = [t.row_bytes if self.axis == WIDTH else t.shape[self.axis] for t in inputs]
        return [sum(lengths[:i]) for i in range(len(lengths) + 1)]
