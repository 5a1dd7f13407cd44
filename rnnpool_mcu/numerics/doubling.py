"""TFLite's own requantization, which rounds twice; twin of the templates' doubling.c.j2.

For operators whose integers are kept from run to run, where a step apart would stay: they follow the
interpreter to the bit. Everything else rounds once (`fixed_point`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Int64Array = NDArray[np.int64]


def wrapped(sums: Int64Array) -> Int64Array:
    """The lowest 32 bits, signed: what sums of 32 bits become that run over."""
    return sums.astype(np.int32).astype(np.int64)


@dataclass(frozen=True)
class DoublingFactor:
    """multiplier / 2**31 * 2**shift: first a left shift if shift is above 0, last a right one if below."""

    multiplier: int  # in [2**30, 2**31)
    shift: int  # in -31..30

    @staticmethod
    def of(real: float) -> DoublingFactor:
        """The nearest to a real factor; ValueError unless it is above 2**-32 and below 2**30."""
        if not (math.isfinite(real) and 2.0**-32 < real < 2.0**30):
            raise ValueError(f"requantization factor {real:g}, allowed: 2^-32 < factor < 2^30")
        mantissa, shift = math.frexp(real)
        multiplier = math.floor(mantissa * 2.0**31 + 0.5)
        return (
            DoublingFactor(1 << 30, shift + 1) if multiplier == 1 << 31 else DoublingFactor(multiplier, shift)
        )

    def applied(self, values: Int64Array) -> Int64Array:
        """values (of 32 bits, also behind the left shift) times the factor, each half away from 0."""
        product = (values << max(self.shift, 0)) * self.multiplier
        nudge = np.where(product >= 0, 1 << 30, 1 - (1 << 30))
        high = (product + nudge) // (1 << 31)
        inexact = (product + nudge) % (1 << 31) != 0
        high += (product + nudge < 0) & inexact  # C's division goes towards 0
        right = max(-self.shift, 0)
        threshold = (((1 << right) - 1) >> 1) + (high < 0)
        found: Int64Array = (high >> right) + ((high & ((1 << right) - 1)) > threshold)
        return found
