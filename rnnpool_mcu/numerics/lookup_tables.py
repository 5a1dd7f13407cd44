"""Tables of the gate functions of recurrent cells, 16 bits, over a fixed range of the pre-activation.

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
GATE_MAX = 65535  # Q16
STATE_BITS = 14  # states and candidates are Q14, so that a difference of two of them is an int16
STATE_MAX = 2**STATE_BITS - 1

SMOOTH = "tanh/sigmoid"
PIECEWISE_LINEAR = "quantTanh/quantSigmoid"
NONLINEARITIES = (SMOOTH, PIECEWISE_LINEAR)


@dataclass(frozen=True, eq=False)
class GateTables:
    """Look-up tables of one pair of gate functions, TABLE_SIZE entries each."""

    gate: NDArray[np.uint16]  # z in 0..65535 (Q16)
    update: Int16Array  # c in -16383..16383 (Q14)


def gate_tables(nonlinearity: str) -> GateTables:
    """Tables of a member of NONLINEARITIES; ValueError for any other name."""
    if nonlinearity not in NONLINEARITIES:
        raise ValueError(f"nonlinearity {nonlinearity!r}, allowed: {', '.join(map(repr, NONLINEARITIES))}")
    gate_at, update_at = _bin_centres(GATE_STEP_BITS), _bin_centres(UPDATE_STEP_BITS)
    if nonlinearity == SMOOTH:
        return _quantized(1.0 / (1.0 + np.exp(-gate_at)), np.tanh(update_at))
    return _quantized(np.clip((gate_at + 1.0) / 2.0, 0.0, 1.0), np.clip(update_at, -1.0, 1.0))


def _bin_centres(step_bits: int) -> NDArray[np.float64]:
    bins = np.arange(TABLE_SIZE, dtype=np.float64) - TABLE_SIZE / 2 + 0.5
    return np.ldexp(bins, -step_bits)


def _quantized(gate: NDArray[np.float64], update: NDArray[np.float64]) -> GateTables:
    z = np.minimum(np.floor(gate * 65536.0 + 0.5), GATE_MAX).astype(np.uint16)
    c = np.clip(np.floor(update * 2.0**STATE_BITS + 0.5), -STATE_MAX, STATE_MAX).astype(np.int16)
    return GateTables(z, c)
