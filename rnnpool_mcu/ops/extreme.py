"""The larger or the smaller of two tensors, value by value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rnnpool_mcu.ir.operator import CParams, Int8Array
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.ops.pairwise import Pairwise


@dataclass(frozen=True, eq=False)
class Extreme(Pairwise):
    """The larger or the smaller of two values, both at the output's scale."""

    kernel: ClassVar[str] = "extreme_s8"
    smaller: ClassVar[bool]

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        a, b = self._at_output(inputs, values)
        return np.minimum(a, b) if self.smaller else np.maximum(a, b)

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        return CParams({**self._pair_fields(inputs), "smaller": int(self.smaller)})


@dataclass(frozen=True, eq=False)
class Maximum(Extreme):
    """out = max(a, b), each requantized to the output first; a side of 1 is repeated."""

    smaller: ClassVar[bool] = False


@dataclass(frozen=True, eq=False)
class Minimum(Extreme):
    """out = min(a, b), each requantized to the output first; a side of 1 is repeated."""

    smaller: ClassVar[bool] = True
