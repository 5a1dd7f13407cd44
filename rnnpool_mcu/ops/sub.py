"""Difference of two tensors of the same shape; its kernel is the sum's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.ops.add import Add, AddFactors


@dataclass(frozen=True)
class Sub(Add):
    """out = clamp(((a - za) * ma - (b - zb) * mb + 2**(shift - 1)) >> shift + z): one rounding, half up."""

    def factors(self, inputs: Sequence[TensorType]) -> AddFactors:
        """Add's, the second multiplier below zero."""
        plus = super().factors(inputs)
        a, b = plus.multipliers
        return AddFactors((a, -b), plus.shift, plus.offset + 2 * inputs[1].zero_point * b)
