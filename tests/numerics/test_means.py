"""Means of int8 sums: half up for every sum, against integer division."""

from __future__ import annotations

import numpy as np
import pytest

from rnnpool_mcu.numerics.fixed_point import requantize
from rnnpool_mcu.numerics.means import mean_multipliers

COUNTS = [*range(1, 65), 81, 100, 121, 144, 196, 255, 256, 257, 784, 900, 1023, 1024, 4096]
LARGE_COUNTS = [65535, 65536, 10**6 - 1, 2**20]


def half_up(sums: np.ndarray, count: int) -> np.ndarray:
    return (2 * sums + count) // (2 * count)


@pytest.mark.parametrize("zero_point", [-128, 0, 127])
def test_every_sum_of_every_count_rounds_half_up(zero_point: int) -> None:
    """All sums of `count` differences from a zero point, at equal scales."""
    for count in COUNTS:
        r = mean_multipliers(np.array([1.0 / count]), np.array([count]))
        sums = np.arange((-128 - zero_point) * count, (127 - zero_point) * count + 1)
        found = requantize((sums << r.left_shift) + 1, r.multipliers[0], r.shift, zero_point, -128, 127)
        assert np.array_equal(found, half_up(sums, count) + zero_point), count


@pytest.mark.parametrize("count", LARGE_COUNTS)
def test_halves_of_large_counts_and_what_is_beside_them(count: int) -> None:
    r = mean_multipliers(np.array([1.0 / count]), np.array([count]))
    halves = (2 * np.arange(-255, 255) + 1) * count // 2
    sums = (halves[:, None] + np.arange(-3, 4)).ravel()
    shifted = (sums << r.left_shift) + 1
    assert np.abs(shifted).max() < 2**31
    rounded = (shifted * int(r.multipliers[0]) + (1 << (r.shift - 1))) >> r.shift
    assert np.array_equal(rounded, half_up(sums, count))


@pytest.mark.parametrize(("height", "width"), [(2, 2), (2, 3), (3, 3), (4, 5), (7, 7), (1, 200), (16, 16)])
def test_windows_that_are_cut_share_a_shift_and_round_half_up(height: int, width: int) -> None:
    counts = np.outer(np.arange(1, height + 1), np.arange(1, width + 1)).ravel()
    r = mean_multipliers(1.0 / counts, counts)
    for multiplier, count in zip(r.multipliers.tolist(), counts.tolist(), strict=True):
        sums = np.arange(-255 * count, 255 * count + 1)
        shifted = (sums << r.left_shift) + 1
        assert np.abs(shifted).max() < 2**31
        rounded = (shifted * multiplier + (1 << (r.shift - 1))) >> r.shift
        assert np.array_equal(rounded, half_up(sums, count)), count


@pytest.mark.parametrize("ratio", [0.25, 0.5, 2.0, 3.0, 10.0])
def test_ratios_of_scales_keep_halves(ratio: float) -> None:
    for count in (2, 4, 6, 20, 49, 64):
        r = mean_multipliers(np.array([ratio / count]), np.array([count]))
        sums = np.arange(-255 * count, 255 * count + 1)
        rounded = (((sums << r.left_shift) + 1) * int(r.multipliers[0]) + (1 << (r.shift - 1))) >> r.shift
        quarters = int(4 * ratio)
        assert np.array_equal(rounded, half_up(sums * quarters, 4 * count)), count


@pytest.mark.parametrize("factor", [1e-9, 1e-5, 7.3, 200.0])
def test_any_factor_is_within_a_thousandth_of_a_step_of_the_exact_one(factor: float) -> None:
    for count in (1, 4, 30):
        r = mean_multipliers(np.array([factor]), np.array([count]))
        sums = np.arange(-255 * count, 255 * count + 1)
        exact = sums * factor
        product = ((sums << r.left_shift) + 1) * float(r.multipliers[0]) / 2.0**r.shift
        assert np.abs(product - exact)[np.abs(exact) < 256].max() <= 1e-3


def test_sums_that_leave_32_bits_are_refused() -> None:
    with pytest.raises(ValueError, match="the sum of 8000000 values, shifted left by 5, leaves 32 bits"):
        mean_multipliers(np.array([7.0]), np.array([8_000_000]))
