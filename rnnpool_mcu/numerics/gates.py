"""Gates of recurrent layers in fixed point: Q12 pre-activations to Q15, twin of the templates' gates.c.j2."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.numerics.fixed_point import Requantization, quantize_multipliers

GATE_BITS = 12  # pre-activations are Q12 in int16: -8..8
SIGMOID_BINS, TANH_BINS = 8, 7  # 2**bins units of a pre-activation between two entries of a table
INT16 = (-(2**15), 2**15 - 1)
CELL_BITS = (9, 15)  # of an LSTM's cell: fraction bits of its int16
_LEAST_GATE = 2.0**-16  # a gate's scale beside the largest: of smaller weights nothing is left in Q12

Int64Array = NDArray[np.int64]


def quantized_gates(
    matrices: NDArray[np.float64], least: NDArray[np.float64] | float = 0.0
) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """int8 -127..127 of matrices [gates, units, inputs], and the scale of each gate, at least `least`."""
    scales = np.maximum(np.abs(matrices).max(axis=(1, 2)) / 127.0, least)
    largest = float(scales.max()) or 1.0 / 127.0
    scales = np.maximum(scales, largest * _LEAST_GATE)
    steps = np.floor(matrices / scales[:, None, None] + 0.5)
    return np.clip(steps, -127, 127).astype(np.int8), scales


def cell_bits_for(largest: float) -> int:
    """Fraction bits of a cell that reached `largest` on calibration inputs: it may become twice as large."""
    fewest, most = CELL_BITS
    whole = int(np.ceil(np.log2(max(largest, 2.0**-15)))) + 1
    return min(most, max(fewest, 15 - whole))


def factors(
    input_steps: NDArray[np.float64], state_steps: NDArray[np.float64], output_steps: float
) -> tuple[Requantization, Requantization, Requantization]:
    """Of both products' sums to Q12 and of the new state to the output; ValueError for those too far apart.

    The first two are what 1 of each gate's sums stands for, [gates]; the last how many steps of the output
    are 1 of the state.
    """
    unit = 2.0**-GATE_BITS
    return (
        quantize_multipliers(input_steps / unit),
        quantize_multipliers(state_steps / unit),
        quantize_multipliers(np.array([output_steps])),
    )


def scaled(sums: Int64Array, factor: Requantization) -> Int64Array:
    """[gates, units] sums times their gate's factor."""
    shift = factor.shift - factor.left_shift
    found: Int64Array = rounded(sums * factor.multipliers.astype(np.int64)[:, None], shift)
    return found


def rounded(values: Int64Array, bits: int) -> Int64Array:
    """values / 2**bits, half up."""
    found: Int64Array = (values + (1 << (bits - 1))) >> bits
    return found


def saturated(values: Int64Array) -> Int64Array:
    found: Int64Array = np.clip(values, *INT16)
    return found


def _table(function: NDArray[np.float64]) -> NDArray[np.int16]:
    return np.clip(np.floor(function * 32768 + 0.5), *INT16).astype(np.int16)


def _ends(bins: int) -> NDArray[np.float64]:
    """Pre-activations at which a table has entries: from -8 to 8."""
    return np.arange(2 ** (16 - bins) + 1) * 2.0 ** (bins - GATE_BITS) - 8.0


SIGMOID_TABLE = _table(1.0 / (1.0 + np.exp(-_ends(SIGMOID_BINS))))
TANH_TABLE = _table(np.tanh(_ends(TANH_BINS)))


def _interpolated(table: NDArray[np.int16], values: Int64Array, bins: int) -> Int64Array:
    at, entries = values + 2**15, table.astype(np.int64)
    low, part = at >> bins, at & (2**bins - 1)
    found: Int64Array = entries[low] + rounded((entries[low + 1] - entries[low]) * part, bins)
    return found


def sigmoid(values: Int64Array) -> Int64Array:
    return _interpolated(SIGMOID_TABLE, values, SIGMOID_BINS)


def tanh(values: Int64Array) -> Int64Array:
    return _interpolated(TANH_TABLE, values, TANH_BINS)
