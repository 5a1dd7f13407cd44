"""Fixed-point factors of sums whose mean is rounded half up, exactly, whatever the sum's sign."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.numerics.fixed_point import MAX_SHIFT, Requantization, quantize_multipliers

LARGEST = 255  # magnitude of a difference of two int8


def mean_multipliers(real: NDArray[np.float64], counts: NDArray[np.int64]) -> Requantization:
    """Factors `real` of sums of `counts` differences each: means are requantize((sum << left_shift) + 1).

    A multiplier is off by half a unit at most, so the product of a shifted sum a is off by |a| / 2, and where
    the exact product is a half, the result would depend on the multiplier's rounding. The 1 adds a whole
    multiplier, which is at least as much: halves always go up. It raises nothing else over the next half as
    long as what it adds, real / 2**left_shift steps, is small beside the distance of two means; so left_shift
    is the largest at which sums stay in 32 bits and no multiplier is below |a| / 2. Means of up to 2**20
    values are exact so, of windows that are cut at the border those of up to 1,024.

    A factor of 0 marks a count that does not occur. Raises ValueError where quantize_multipliers does, and
    where a shifted sum leaves 32 bits.
    """
    given = quantize_multipliers(real)
    occurs = real > 0.0
    sums = LARGEST * counts[occurs].astype(np.float64)
    exponent = int(np.frexp(real.max())[1])  # real.max() < 2**exponent
    multipliers = real[occurs] * 2.0 ** (31 - exponent)
    room = np.minimum(2.0**31 - 2, 2.0 * multipliers - 2) / sums
    wanted = min(MAX_SHIFT - 31 + exponent, int(np.frexp(max(1.0, room.min()))[1]) - 1)
    left_shift = max(given.left_shift, wanted)
    if (int(sums.max()) << left_shift) + 1 >= 2**31:
        raise ValueError(
            f"the sum of {int(counts.max())} values, shifted left by {left_shift}, leaves 32 bits"
        )
    found = quantize_multipliers(real / 2.0**left_shift)
    return Requantization(found.multipliers, found.shift, left_shift)
