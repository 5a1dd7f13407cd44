"""What operators on two tensors share whose sides of 1 are repeated and whose values meet at one scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rnnpool_mcu.ir.operator import CArray, Int8Array, Operator, RowWindow
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.lookup import INPUTS, requantize, stored_table
from rnnpool_mcu.ops.mul import broadcast_shape


@dataclass(frozen=True, eq=False)
class Pairwise(Operator):
    """Two tensors, sides of 1 repeated; each is brought to the output's quantization by a table first."""

    output: Quantization

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        return TensorType(*broadcast_shape(type(self).__name__, inputs), self.output)

    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        rows = [out_row if t.height > 1 else 0 for t in inputs]
        return tuple(RowWindow(row, row + 1) for row in rows)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return 0

    def _at_output(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> list[Int8Array]:
        """Both values at the output's quantization."""
        tables = [self._table(t) for t in inputs]
        return [table[v.astype(np.int32) + 128] for table, v in zip(tables, values, strict=True)]

    def _table(self, tensor: TensorType) -> Int8Array:
        """What an input's values become, from -128 upwards."""
        if tensor.quantization == self.output:
            return INPUTS.astype(np.int8)
        return requantize(tensor.quantization, self.output).table

    def _pair_fields(self, inputs: Sequence[TensorType]) -> dict[str, int | CArray]:
        """Of the kernels, under their C names."""
        out = self.infer_type(inputs)
        given = [t.quantization == self.output for t in inputs]
        tables = np.concatenate([stored_table(self._table(t)) for t in inputs])
        return {
            "tables": CArray("int8_t", np.zeros(1, np.int8) if all(given) else tables),
            "has_tables": int(not all(given)),
            "pixel_step_a": inputs[0].channels if inputs[0].width > 1 else 0,
            "pixel_step_b": inputs[1].channels if inputs[1].width > 1 else 0,
            "step_a": int(inputs[0].channels > 1),
            "step_b": int(inputs[1].channels > 1),
            "width": out.width,
            "channels": out.channels,
        }
