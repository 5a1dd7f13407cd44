"""One of two tensors, value by value, as a stored condition has it: masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CArray, CParams, Int8Array
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.mul import broadcast_shape
from rnnpool_mcu.ops.pairwise import Pairwise

_ANY = Quantization(1.0, 0)  # the condition has a shape only


@dataclass(frozen=True, eq=False)
class Where(Pairwise):
    """out = a where the stored condition is 1, else b, each requantized first; a side of 1 is repeated."""

    kernel: ClassVar[str] = "where_s8"
    takes_row: ClassVar[bool] = True

    condition: Int8Array  # 0 or 1, [height or 1, width or 1, channels or 1]

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        if self.condition.ndim != 3 or not np.isin(self.condition, (0, 1)).all():
            raise ModelError(f"Where: condition {self.condition.shape}, allowed: 3 sides of zeros and ones")
        height, width, channels = self.condition.shape
        stored = TensorType(height, width, channels, _ANY)
        return TensorType(*broadcast_shape("Where", (*inputs, stored)), self.output)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        a, b = self._at_output(inputs, values)
        shape = self.infer_type(inputs).shape
        return np.ascontiguousarray(np.broadcast_to(np.where(self.condition, a, b), shape))

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        height, width, channels = self.condition.shape
        return CParams(
            {
                **self._pair_fields(inputs),
                "condition": CArray("int8_t", self.condition),
                "condition_row_step": width * channels if height > 1 else 0,
                "condition_pixel_step": channels if width > 1 else 0,
                "condition_step": int(channels > 1),
            }
        )
