"""Difference of two tensors of the same shape; its kernel is the sum's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rnnpool_mcu.ops.add import WeightedSum


@dataclass(frozen=True)
class Sub(WeightedSum):
    """out = clamp(((a - za) * ma - (b - zb) * mb + 2**(shift - 1)) >> shift + z): one rounding, half up."""

    signs: ClassVar[tuple[int, int]] = (1, -1)
