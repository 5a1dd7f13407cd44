"""Tables of the gate functions of recurrent cells, int16 Q15, over a fixed range of the pre-activation.

Entry i of a table holds the function at the middle of bin i - SIZE/2, so that the index is a plain floor:

    sigmoid: bins of 1/128 over [-8, 8)      tanh: bins of 1/256 over [-4, 4)

The sigmoid's slope is at most 1/4, tanh's 1: half a bin is an error of at most 1/1024 and 1/512; beyond the
range it is at most 1/1490 (1 - tanh(4)). As tanh(a) = 2 sigmoid(2a) - 1, that is the
same table at two resolutions; keeping both costs 4 KB of flash and saves an instruction per unit and step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Int16Array = NDArray[np.int16]

TABLE_SIZE = 2048
GATE_STEP_BITS = 7  # bins per unit of the gate's pre-activation: 2**7
UPDATE_STEP_BITS = 8  # of the candidate's
Q15_MAX = 32767

SMOOTH = "tanh/sigmoid"
PIECEWISE_LINEAR = "quantTanh/quantSigmoid"
NONLINEARITIES = (SMOOTH, PIECEWISE_LINEAR)


@dataclass(frozen=True, eq=False)
class GateTables:
    """Look-up tables of one pair of gate functions, TABLE_SIZE entries each."""

    gate: Int16Array  # z in 0..32767 (Q15)
    update: Int16Array  # c in -32767..32767 (Q15)


def gate_tables(nonlinearity: str) -> GateTables:
    """Tables of a member of NONLINEARITIES; ValueError for any other name."""
    if nonlinearity not in NONLINEARITIES:
        raise ValueError(f"nonlinearity {nonlinearity!r}, allowed: {', '.join(map(repr, NONLINEARITIES))}")
    gate_at, update_at = _bin_centres(GATE_STEP_BITS), _bin_centres(UPDATE_STEP_BITS)
    if nonlinearity == SMOOTH:
        return GateTables(_q15(1.0 / (1.0 + np.exp(-gate_at))), _q15(np.tanh(update_at)))
    return GateTables(_q15(np.clip((gate_at + 1.0) / 2.0, 0.0, 1.0)), _q15(np.clip(update_at, -1.0, 1.0)))


def _bin_centres(step_bits: int) -> NDArray[np.float64]:
    bins = np.arange(TABLE_SIZE, dtype=np.float64) - TABLE_SIZE / 2 + 0.5
    return np.ldexp(bins, -step_bits)


def _q15(real: NDArray[np.float64]) -> Int16Array:
    return np.clip(np.floor(real * 32768.0 + 0.5), -Q15_MAX, Q15_MAX).astype(np.int16)
