"""The integer FastGRNN cell: int16 weights, int16 Q14 state, gates from tables.

One step, for an int16 input x and state h (all sums exact in int32, p = fraction_bits):

    acc = W.x + U.h                                            in 2**-p of the pre-activation
    z   = gate_table[clamp((acc + bias_gate) >> (p - 7))]      Q16, 0..65535
    c   = update_table[clamp((acc + bias_update) >> (p - 8))]  Q14, -16383..16383
    h'  = c + ((z * (h - c)) >> 16)                            Q14, rounded down

A power of two as the accumulator's scale makes the table index a shift; W and U take what precision that
leaves them (2**-10 for U at p = 24), so neither has a scale of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.numerics.lookup_tables import (
    GATE_STEP_BITS,
    STATE_BITS,
    TABLE_SIZE,
    UPDATE_STEP_BITS,
    GateTables,
    Int16Array,
)

MAX_FRACTION_BITS = 24  # pre-activations within +-128; the fast Cortex-M4 path is written for this value
MIN_FRACTION_BITS = 12
INT16_MAX = 32767

Int32Array = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class FastGrnnCell:
    """Integer weights of one cell, all in units that make acc a multiple of 2**-fraction_bits."""

    w: Int16Array  # [hidden, inputs]
    u: Int16Array  # [hidden, hidden]
    bias_gate: Int32Array  # [hidden]
    bias_update: Int32Array  # [hidden]
    fraction_bits: int

    @property
    def inputs(self) -> int:
        return int(self.w.shape[1])

    @property
    def hidden(self) -> int:
        return int(self.w.shape[0])

    def accumulator_bound(self, input_zero_point: int = 0) -> int:
        """Largest magnitude that an accumulator may take, in any order of summing.

        input_zero_point is that of an int8 input in units of the int16 input; it is folded into the biases.
        """
        w, u = np.abs(self.w.astype(np.int64)).sum(axis=1), np.abs(self.u.astype(np.int64)).sum(axis=1)
        gate, update = self.bias_gate.astype(np.int64), self.bias_update.astype(np.int64)
        biases = np.abs(gate) + np.abs(update - gate)  # kernels add the gate's, then the difference
        return int((w * (32768 + abs(input_zero_point)) + (u << STATE_BITS) + biases).max())

    def with_zero_point(self, input_zero_point: int) -> FastGrnnCell:
        """The same cell for inputs that still carry a zero point: it is folded into both biases."""
        folded = input_zero_point * self.w.astype(np.int64).sum(axis=1)
        gate, update = self.bias_gate - folded, self.bias_update - folded
        return FastGrnnCell(
            self.w, self.u, gate.astype(np.int32), update.astype(np.int32), self.fraction_bits
        )

    def project(self, x: NDArray[np.int16]) -> NDArray[np.float64]:
        """W.x of inputs [..., inputs]: exact integers below 2**31, kept as float64 for the matrix product."""
        return x.astype(np.float64) @ self.w.T.astype(np.float64)

    def sweep(self, projected: Iterable[NDArray[np.float64]], tables: GateTables) -> Int16Array:
        """Last state [..., hidden] from state 0 over the steps' W.x, each [..., hidden]."""
        u = self.u.T.astype(np.float64)
        h: NDArray[np.int32] | None = None
        for wx in projected:
            h = np.zeros(wx.shape, np.int32) if h is None else h
            acc = (wx + h.astype(np.float64) @ u).astype(np.int32)
            h = self._step(acc, h, tables)
        if h is None:
            raise ValueError("sweep over 0 steps, allowed: at least 1")
        return h.astype(np.int16)

    def _step(self, acc: Int32Array, h: Int32Array, tables: GateTables) -> Int32Array:
        z = _look_up(tables.gate, acc + self.bias_gate, self.fraction_bits - GATE_STEP_BITS)
        c = _look_up(tables.update, acc + self.bias_update, self.fraction_bits - UPDATE_STEP_BITS)
        return c + ((z * (h - c)) >> 16)


def quantize_cell(
    w: NDArray[np.float64],
    u: NDArray[np.float64],
    bias_gate: NDArray[np.float64],
    bias_update: NDArray[np.float64],
    *,
    input_step: float,
    input_zero_point: int = 0,
) -> FastGrnnCell:
    """Integer cell of float weights W [inputs, hidden], U [hidden, hidden], biases [hidden].

    input_step is the real value of one unit of the int16 input, input_zero_point its zero point in the same
    units. The largest fraction_bits is taken at which weights fit int16 and no accumulator can leave int32.
    Raises ValueError when not even MIN_FRACTION_BITS does.
    """
    for bits in range(MAX_FRACTION_BITS, MIN_FRACTION_BITS - 1, -1):
        unit = 2.0**bits
        w_int, u_int = np.rint(w.T * (unit * input_step)), np.rint(u.T * (unit / 2.0**STATE_BITS))
        gate, update = np.rint(bias_gate * unit), np.rint(bias_update * unit)
        if max(np.abs(w_int).max(), np.abs(u_int).max()) > INT16_MAX:
            continue
        if max(np.abs(gate).max(), np.abs(update).max()) >= 2.0**31:
            continue
        cell = FastGrnnCell(
            w_int.astype(np.int16),
            u_int.astype(np.int16),
            gate.astype(np.int32),
            update.astype(np.int32),
            bits,
        )
        if cell.accumulator_bound(input_zero_point) < 2**31:
            return cell
    raise ValueError(
        f"weights up to {max(np.abs(w).max(), np.abs(u).max()):g} on inputs in steps of {input_step:g} give "
        f"pre-activations beyond +-{2 ** (31 - MIN_FRACTION_BITS)}"
    )


def _look_up(table: NDArray[Any], value: Int32Array, shift: int) -> Int32Array:
    half = TABLE_SIZE // 2
    found: Int32Array = table[np.clip(value >> shift, -half, half - 1) + half].astype(np.int32)
    return found
