"""Fixed-point primitives; twin of codegen_templates/include/fixed_point.h (same names, same order)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Int32Array = NDArray[np.int32]

MIN_SHIFT = 33  # so that a 32 x 32 -> high word multiply-accumulate plus one shift is exact
MAX_SHIFT = 55  # so that zero point and half, at the accumulator's scale, fit a word beside the product


@dataclass(frozen=True, eq=False)
class Requantization:
    """Factors 2**left_shift * multiplier[c] / 2**shift of a layer: a multiplier per channel, one shift."""

    multipliers: Int32Array  # in [0, 2**31)
    shift: int  # in [MIN_SHIFT, MAX_SHIFT]
    left_shift: int  # applied to the accumulator first; 0 unless a factor is 0.25 or more


def quantize_multipliers(real: NDArray[np.float64]) -> Requantization:
    """Fixed-point form of real factors >= 0, at least one > 0; the largest keeps 31 bits.

    The shared shift makes the absolute error of any channel at most acc / 2**(shift + 1) output steps.
    Raises ValueError for factors that are negative, not finite, all zero, or 2**16 and more.
    """
    largest = float(real.max())
    if not (np.isfinite(real).all() and real.min() >= 0.0 and 0.0 < largest < 2.0**16):
        raise ValueError(f"requantization factor {largest:g}, allowed: 0 < factor < 65536")
    left_shift = max(0, int(np.frexp(largest)[1]) + 2)
    scaled = real / 2.0**left_shift
    shift = min(MAX_SHIFT, 31 - int(np.frexp(scaled.max())[1]))
    multipliers = np.floor(scaled * 2.0**shift + 0.5)
    return Requantization(np.minimum(multipliers, 2.0**31 - 1).astype(np.int32), shift, left_shift)


def clamp_s32(value: NDArray[Any], low: int, high: int) -> NDArray[Any]:
    """value limited to low..high"""
    clamped: NDArray[Any] = np.clip(value, low, high)
    return clamped


def requantize(
    acc: NDArray[Any], multiplier: NDArray[Any] | int, shift: int, zero_point: int, low: int, high: int
) -> NDArray[np.int8]:
    """clamp(floor((acc * multiplier + 2**(shift - 1)) / 2**shift) + zero_point, low, high), half up."""
    product = acc.astype(np.int64) * np.asarray(multiplier, dtype=np.int64)
    rounded = (product + (np.int64(1) << np.int64(shift - 1))) >> np.int64(shift)
    return clamp_s32(rounded + zero_point, low, high).astype(np.int8)
